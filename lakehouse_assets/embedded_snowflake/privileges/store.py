"""What is granted to whom, and who owns what, kept in one file of the account.

What belongs here: roles, grants, ownership, and what follows from them. What does not: reading statements
(`statements.py`, `needs.py`).
"""

import json
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from lakehouse_assets.private import opener

ADMIN, PUBLIC = "ACCOUNTADMIN", "PUBLIC"
_SYSTEM = {
    ADMIN: {"SECURITYADMIN", "SYSADMIN"},
    "SECURITYADMIN": {"USERADMIN"},
    "SYSADMIN": set(),
    "USERADMIN": set(),
    PUBLIC: set(),
}  # fmt: skip
"""The roles that every account has, with the roles that each holds."""
OWNERSHIP = "OWNERSHIP"
USER_ROLES = "USER EMBEDDED"
"""The holder of the roles that are granted to the user of the account."""
ACCOUNT = ("ACCOUNT", "EMBEDDED")
FILE = "privileges.json"


class Securable(NamedTuple):
    """What a privilege is on. Tables and views share their names, so both are of kind TABLE here."""

    kind: str
    name: str

    @classmethod
    def of(cls, kind: str, *parts: str) -> "Securable":
        """By kind and the parts of a full name; names that differ in case alone are the same here."""
        return cls("TABLE" if kind == "VIEW" else kind, ".".join(parts).upper())

    @property
    def within(self) -> "tuple[Securable, ...]":
        """The schema and database that it is in."""
        parts = self.name.split(".")
        if self.kind in ("WAREHOUSE", "ACCOUNT", "DATABASE", "ROLE"):
            return ()
        return tuple(
            Securable(("DATABASE", "SCHEMA")[n - 1], ".".join(parts[:n])) for n in range(len(parts) - 1, 0, -1)
        )


class Privileges:
    """Roles and grants of an account. What no role is said to own is ACCOUNTADMIN's."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / FILE
        self._lock = threading.RLock()
        kept = json.loads(self._file.read_text()) if self._file.is_file() else {}
        self.owner_of_role: dict[str, str] = kept.get("roles", {})
        self._held: dict[str, set[str]] = {role: set(held) for role, held in kept.get("held", {}).items()}
        self._granted: dict[Securable, dict[str, set[str]]] = {
            _securable(key): {role: set(p) for role, p in roles.items()}
            for key, roles in kept.get("granted", {}).items()
        }
        self._owners: dict[Securable, str] = {_securable(key): role for key, role in kept.get("owners", {}).items()}
        self._future: list[tuple[str, str, str, str]] = [tuple(f) for f in kept.get("future", [])]
        self._closures: dict[str, frozenset[str]] = {}

    def save(self) -> None:
        """Write the file anew, aside and then renamed."""
        self._closures.clear()
        written = self._file.with_suffix(".new")
        kept = {
            "roles": self.owner_of_role,
            "held": {role: sorted(held) for role, held in self._held.items()},
            "granted": {_key(k): {r: sorted(p) for r, p in roles.items()} for k, roles in self._granted.items()},
            "owners": {_key(k): role for k, role in self._owners.items()},
            "future": self._future,
        }
        with open(written, "w", opener=opener) as file:
            json.dump(kept, file, indent=1)
        written.replace(self._file)

    def trivial(self, role: str) -> bool:
        """Whether nothing follows from what a role defines: it is ACCOUNTADMIN, and nothing was ever granted."""
        return role == ADMIN and not (self._granted or self._owners or self._future)

    # -- roles -------------------------------------------------------------------------------------------------------

    def exists(self, role: str) -> bool:
        """Whether there is such a role."""
        return role in _SYSTEM or role in self.owner_of_role

    def create_role(self, role: str, owner: str) -> None:
        """Add a role."""
        with self._lock:
            self.owner_of_role[role] = owner
            self.save()

    def drop_role(self, role: str, heir: str) -> None:
        """Remove a role; what it owns becomes the heir's."""
        with self._lock:
            del self.owner_of_role[role]
            self._held.pop(role, None)
            for held in self._held.values():
                held.discard(role)
            for roles in self._granted.values():
                roles.pop(role, None)
            self._owners = {key: heir if owner == role else owner for key, owner in self._owners.items()}
            self._future = [future for future in self._future if future[3] != role]
            self.save()

    def hold(self, holder: str, role: str, *, take: bool = False) -> None:
        """Grant a role to another one, or take it back."""
        with self._lock:
            held = self._held.setdefault(holder, set())
            held.discard(role) if take else held.add(role)
            self.save()

    def holds(self, role: str) -> frozenset[str]:
        """A role with all roles that it holds, directly or not, and PUBLIC."""
        if role not in self._closures:
            found, waiting = {PUBLIC}, [role]
            while waiting:
                one = waiting.pop()
                if one not in found or one == PUBLIC:
                    found.add(one)
                    waiting.extend((_SYSTEM.get(one, set()) | self._held.get(one, set())) - found)
            self._closures[role] = frozenset(found)
        return self._closures[role]

    def of_user(self) -> frozenset[str]:
        """All roles that the user of the account may use."""
        return self.holds(ADMIN) | self.holds(USER_ROLES)

    def acts_as(self, role: str, system: str, privilege: str) -> bool:
        """Whether a role is, or holds, a role of the system, or has a privilege on the account instead."""
        return {ADMIN, system} & self.holds(role) != set() or self.may(role, (privilege,), Securable(*ACCOUNT))

    def owns_role(self, role: str, other: str) -> bool:
        """Whether a role owns another one."""
        return ADMIN in self.holds(role) or self.owner_of_role.get(other) in self.holds(role)

    # -- privileges --------------------------------------------------------------------------------------------------

    def may(self, role: str, privileges: Iterable[str], on: Securable) -> bool:
        """Whether a role has one of these privileges on it, or owns it."""
        held = self.holds(role)
        if ADMIN in held or self._owners.get(on, ADMIN) in held:
            return True
        wanted, granted = set(privileges), self._granted.get(on, {})
        return any(wanted & granted.get(one, set()) for one in held)

    def sees(self, role: str, what: Securable) -> bool:
        """Whether a role has any privilege on it, and may use what it is in."""
        held = self.holds(role)
        return ADMIN in held or (
            (self._owners.get(what, ADMIN) in held or any(one in held for one in self._granted.get(what, {})))
            and all(self.may(role, ("USAGE",), outer) for outer in what.within)
        )

    def grant(self, role: str, privileges: Iterable[str], on: Iterable[Securable], *, take: bool = False) -> None:
        """Grant privileges, or take them back."""
        with self._lock:
            for one in on:
                had = self._granted.setdefault(one, {}).setdefault(role, set())
                had.difference_update(privileges) if take else had.update(privileges)
                if not had:
                    del self._granted[one][role]
                if not self._granted[one]:
                    del self._granted[one]
            self.save()

    def grant_future(
        self, role: str, privileges: Iterable[str], kind: str, within: Securable, *, take: bool = False
    ) -> None:
        """Grant privileges on what will be created of a kind in a schema or database, or take that back."""
        with self._lock:
            for privilege in privileges:
                future = (_key(within), kind, privilege, role)
                if take and future in self._future:
                    self._future.remove(future)
                elif not take and future not in self._future:
                    self._future.append(future)
            self.save()

    def granted(self, on: Securable) -> dict[str, set[str]]:
        """Role → its privileges on something, without ownership."""
        return self._granted.get(on, {})

    def own(self, role: str, on: Iterable[Securable], *, keep: bool) -> None:
        """Make a role the owner. keep: whether what was granted to others stays."""
        with self._lock:
            for one in on:
                self._owners[one] = role
                if not keep:
                    self._granted.pop(one, None)
            self.save()

    def created(self, what: Securable, kind: str, role: str, *, copy_grants: bool) -> None:
        """Note that a role has created something, or replaced it: it owns it, and what was to be granted is granted."""
        known = (what in self._granted or what in self._owners) and not copy_grants
        outer = [_key(one) for one in what.within]
        future = [] if copy_grants else self._of_future(outer, kind)
        if not (known or future or role != self._owners.get(what, ADMIN)):
            return
        with self._lock:
            if not copy_grants:
                self._granted.pop(what, None)
            self._owners[what] = role
            for _, _, privilege, to in future:
                if privilege == OWNERSHIP:
                    self._owners[what] = to
                else:
                    self._granted.setdefault(what, {}).setdefault(to, set()).add(privilege)
            self.save()

    def _of_future(self, outer: list[str], kind: str) -> list[tuple[str, str, str, str]]:
        """Those for a schema win over those for its database."""
        for within in outer:
            if found := [future for future in self._future if future[:2] == (within, kind)]:
                return found
        return []

    def dropped(self, what: Securable) -> None:
        """Forget something with all that is in it."""
        gone = {k for k in (*self._granted, *self._owners) if k == what or what in k.within}
        future = [future for future in self._future if future[0] != _key(what)]
        if not gone and len(future) == len(self._future):
            return
        with self._lock:
            for key in gone:
                self._granted.pop(key, None)
                self._owners.pop(key, None)
            self._future = future
            self.save()

    def renamed(self, old: Securable, new: Securable) -> None:
        """Keep grants and owner of what has another name now."""
        if old not in self._granted and old not in self._owners:
            return
        with self._lock:
            for kept in (self._granted, self._owners):
                if old in kept:
                    kept[new] = kept.pop(old)  # type: ignore[index]
            self.save()


def _key(what: Securable) -> str:
    # the kind with a mark in place of its blank, so that the first blank ends it
    return f"{what.kind.replace(' ', '_')} {what.name}"


def _securable(key: str) -> Securable:
    kind, _, name = key.partition(" ")
    return Securable(kind.replace("_", " "), name)
