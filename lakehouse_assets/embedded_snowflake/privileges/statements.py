"""GRANT, REVOKE, CREATE ROLE, DROP ROLE, USE ROLE: read here, for the SQL parser reads few of them.

What belongs here: these statements. What does not: what they change (`store.py`).
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from duckdb import DuckDBPyConnection
from snowflake.connector.errors import ProgrammingError
from sqlglot import exp

from lakehouse_assets.embedded_snowflake.errors import compilation_error, rendered_only
from lakehouse_assets.embedded_snowflake.names import Context
from lakehouse_assets.embedded_snowflake.privileges.checks import exists, hidden, insufficient, listed
from lakehouse_assets.embedded_snowflake.privileges.needs import ACCOUNT, securable
from lakehouse_assets.embedded_snowflake.privileges.store import OWNERSHIP, Privileges, Securable

_PART = r'(?:"[^"]+"|[A-Za-z_][\w$]*)'
_NAME = rf"{_PART}(?:\.{_PART}){{0,2}}"
_GRANT = re.compile(
    rf"""(?P<verb>GRANT|REVOKE)\s+(?P<privileges>[\w\s,]+?)\s+ON\s+
    (?:(?P<account>ACCOUNT)
      |(?P<every>ALL|FUTURE)\s+(?P<kinds>[A-Z]+(?:\s+FORMATS)?)\s+IN\s+(?P<scope>SCHEMA|DATABASE)\s+(?P<within>{_NAME})
      |(?P<kind>DATABASE|SCHEMA|TABLE|VIEW|STAGE|FILE\s+FORMAT|SEQUENCE|WAREHOUSE)\s+(?P<name>{_NAME}))
    \s+(?:TO|FROM)\s+(?:ROLE\s+)?(?P<role>{_PART})(?:\s+(?P<rest>COPY\s+CURRENT\s+GRANTS|REVOKE\s+CURRENT\s+GRANTS
    |CASCADE|RESTRICT))?""",
    re.IGNORECASE | re.VERBOSE,
)
_ROLE = re.compile(
    rf"(?P<verb>GRANT|REVOKE)\s+ROLE\s+(?P<role>{_PART})\s+(?:TO|FROM)\s+(?P<to>ROLE|USER)\s+(?P<holder>{_PART})",
    re.IGNORECASE,
)
_DEFINE = re.compile(
    rf"(?P<verb>CREATE|DROP)\s+(?P<replace>OR\s+REPLACE\s+)?ROLE\s+(?P<exists>IF\s+(?:NOT\s+)?EXISTS\s+)?(?P<role>{_PART})"
    r"(?:\s+COMMENT\s*=\s*'(?:[^']|'')*')?",
    re.IGNORECASE,
)
_USE = re.compile(rf"USE\s+ROLE\s+(?P<role>{_PART})", re.IGNORECASE)
_SECONDARY = re.compile(r"USE\s+SECONDARY\s+ROLES\s+(?P<which>\w+)", re.IGNORECASE)
_BEGINNING = re.compile(r"(GRANT|REVOKE|USE|(CREATE|DROP)\s+(OR\s+REPLACE\s+)?ROLE)\b", re.IGNORECASE)

_COMMON = {"USAGE", "MONITOR", "MODIFY", OWNERSHIP}
_PRIVILEGES = {
    "ACCOUNT": {"CREATE DATABASE", "CREATE ROLE", "MANAGE GRANTS"},
    "DATABASE": _COMMON | {"CREATE SCHEMA"},
    "SCHEMA": _COMMON | {f"CREATE {kind}" for kind in ("TABLE", "VIEW", "STAGE", "FILE FORMAT", "SEQUENCE")},
    "TABLE": {"SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", OWNERSHIP},
    "VIEW": {"SELECT", "REFERENCES", OWNERSHIP},
    "STAGE": {"READ", "WRITE", "USAGE", OWNERSHIP},
    "FILE FORMAT": {"USAGE", OWNERSHIP},
    "SEQUENCE": {"USAGE", OWNERSHIP},
    "WAREHOUSE": _COMMON | {"OPERATE"},
}
"""What can be granted on each kind; what is nowhere asked for is kept all the same."""


class Roles(NamedTuple):
    """What these statements are executed with: the session's role and its change, and where to look names up."""

    privileges: Privileges
    duck: DuckDBPyConnection
    context: Context
    role: str
    commit: Callable[[], None]
    use: Callable[[str], None]


def execute(roles: Roles, text: str) -> str | None:
    """Execute such a statement; what the client gets, None if it is another one."""
    if not _BEGINNING.match(text):
        return None
    for pattern, do in ((_USE, _use), (_SECONDARY, _secondary), (_DEFINE, _define), (_ROLE, _hold), (_GRANT, _grant)):
        if match := pattern.fullmatch(text):
            if pattern not in (_USE, _SECONDARY):
                roles.commit()  # as every definition does
            return do(roles, match)
    return None


def check_login(privileges: Privileges, role: str) -> None:
    """Raise ProgrammingError where a login asks for a role that it may not have."""
    if not privileges.exists(role) or role not in privileges.of_user():
        raise ProgrammingError(
            msg=f"Role '{role}' specified in the connect string does not exist or not authorized. Contact your local"
            " system administrator, or attempt to login with another role, e.g. PUBLIC.",
            errno=390189,
            sqlstate="08001",
        )


def _use(roles: Roles, match: re.Match[str]) -> str:
    role = _fold(match["role"])
    if not roles.privileges.exists(role):
        raise compilation_error("Object does not exist, or operation cannot be performed.", 2043, "02000")
    if role not in roles.privileges.of_user():
        raise ProgrammingError(
            msg=f"SQL access control error:\nRequested role '{role}' is not assigned to the executing user. Specify"
            " another role to activate.",
            errno=3013,
            sqlstate="42501",
        )
    roles.use(role)
    return "Statement executed successfully."


def _secondary(roles: Roles, match: re.Match[str]) -> str:
    if match["which"].upper() != "NONE":
        raise rendered_only("USE SECONDARY ROLES")
    return "Statement executed successfully."


def _define(roles: Roles, match: re.Match[str]) -> str:
    role, privileges = _fold(match["role"]), roles.privileges
    there, new = privileges.exists(role), match["verb"].upper() == "CREATE"
    if new and not privileges.acts_as(roles.role, "USERADMIN", "CREATE ROLE"):
        raise insufficient("ACCOUNT", ACCOUNT.name)
    if new and there and not match["replace"]:
        if match["exists"]:
            return f"{role} already exists, statement succeeded."
        raise compilation_error(f"Object '{role}' already exists.", errno=2002, sqlstate="42710")
    if not new and not there:
        if match["exists"]:
            return "Drop statement executed successfully."
        raise hidden("ROLE", role)
    if there:
        if not privileges.owns_role(roles.role, role):
            raise insufficient("ROLE", role)
        privileges.drop_role(role, roles.role)
    if new:
        privileges.create_role(role, roles.role)
    return (
        f"{role} successfully {'created' if new else 'dropped'}." if not new else f"Role {role} successfully created."
    )


def _hold(roles: Roles, match: re.Match[str]) -> str:
    role, holder, privileges = _fold(match["role"]), _fold(match["holder"]), roles.privileges
    to_user = match["to"].upper() == "USER"
    for one in (role, *(() if to_user else (holder,))):
        if not privileges.exists(one):
            raise hidden("ROLE", one)
    if to_user and holder != "EMBEDDED":
        raise hidden("USER", holder)
    if not (privileges.acts_as(roles.role, "SECURITYADMIN", "MANAGE GRANTS") or privileges.owns_role(roles.role, role)):
        raise insufficient("ROLE", role)
    if not to_user and holder in privileges.holds(role):
        raise compilation_error(f"Role '{role}' cannot be granted to '{holder}', which it holds itself.", 3036)
    privileges.hold(f"USER {holder}" if to_user else holder, role, take=match["verb"].upper() == "REVOKE")
    return "Statement executed successfully."


def _grant(roles: Roles, match: re.Match[str]) -> str:
    role, privileges = _fold(match["role"]), roles.privileges
    kind = _kind(match)
    named = _named(match["privileges"], kind)
    if not privileges.exists(role):
        raise hidden("ROLE", role)
    take, rest = match["verb"].upper() == "REVOKE", " ".join((match["rest"] or "").upper().split())
    if match["every"] and match["every"].upper() == "FUTURE":
        within = _find(roles, match["scope"].upper(), match["within"])
        _check_giver(roles, within)
        privileges.grant_future(role, named, kind, within, take=take)
        return "Statement executed successfully."
    if match["every"]:
        within = _find(roles, match["scope"].upper(), match["within"])
        found = listed(roles.duck, kind, within)
    elif match["account"]:
        found = [ACCOUNT]
    elif kind == "WAREHOUSE":
        found = [Securable(kind, _fold(match["name"]))]
    else:
        found = [_find(roles, kind, match["name"])]
    for one in found:
        _check_giver(roles, one)
    if OWNERSHIP in named:
        _transfer(roles, role, found, take, rest)
    else:
        privileges.grant(role, named, found, take=take)
    return "Statement executed successfully."


def _transfer(roles: Roles, role: str, found: list[Securable], take: bool, rest: str) -> None:
    if take:
        raise compilation_error("OWNERSHIP cannot be revoked: grant it to another role.")
    for one in found:
        if not rest and (others := roles.privileges.granted(one)):
            to, some = next(iter(others.items()))
            raise ProgrammingError(
                msg=f"SQL execution error: Dependent grant of privilege '{min(some)}' on securable '{one.name}' to role"
                f" '{to}' must be revoked or copied: say COPY CURRENT GRANTS or REVOKE CURRENT GRANTS.",
                errno=3160,
                sqlstate="42501",
            )
    roles.privileges.own(role, found, keep=rest == "COPY CURRENT GRANTS")


def _check_giver(roles: Roles, what: Securable) -> None:
    if not (
        roles.privileges.acts_as(roles.role, "SECURITYADMIN", "MANAGE GRANTS")
        or roles.privileges.may(roles.role, (), what)
    ):
        raise insufficient(what.kind, what.name.rpartition(".")[2])


def _kind(match: re.Match[str]) -> str:
    if match["account"]:
        return "ACCOUNT"
    kind = " ".join((match["kind"] or match["kinds"].removesuffix("S").removesuffix("s")).upper().split())
    if kind not in _PRIVILEGES or (match["every"] and kind in ("DATABASE", "WAREHOUSE")):
        raise rendered_only(f"{match['verb'].upper()} on {kind}")
    return kind


def _named(text: str, kind: str) -> set[str]:
    named = {" ".join(one.upper().split()) for one in text.split(",")}
    if named in ({"ALL"}, {"ALL PRIVILEGES"}):
        return _PRIVILEGES[kind] - {OWNERSHIP}
    if unknown := named - set().union(*_PRIVILEGES.values()):
        raise rendered_only(f"{min(unknown)} on {kind}")
    if wrong := named - _PRIVILEGES[kind]:
        raise compilation_error(f"Invalid object type '{kind}' for privilege '{min(wrong)}'")
    return named


def _find(roles: Roles, kind: str, name: str) -> Securable:
    what, shown = securable(kind, exp.to_table(name, dialect="snowflake"), roles.context)
    if not exists(roles.duck, what):
        raise hidden(what.kind, shown)
    return what


def _fold(name: str) -> str:
    return name[1:-1] if name.startswith('"') else name.upper()
