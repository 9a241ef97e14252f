"""Database, schemas, file format and stage: which of them are there, and whether they are as the hand-off needs them.

Belongs here: looking, and what follows. They are looked for before any is created, for CREATE … IF NOT EXISTS asks for
the privilege to create also where the object exists. Does not belong here: tables and views (`plan.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from snowflake.connector.errors import ProgrammingError

from lakehouse_assets.core.handoff import sql
from lakehouse_assets.core.handoff.definitions import Object
from lakehouse_assets.core.handoff.evolve import PlannedStatement
from lakehouse_assets.core.handoff.names import TargetNames
from lakehouse_assets.core.handoff.session import Session
from lakehouse_assets.core.handoff.trouble import MISSING

SCHEMAS = {"schema_analytics": "analytics", "schema_ops": "ops", "schema_staging": "staging"}
CONTAINERS = ("database", *SCHEMAS, "file_format", "stage")
"""The statements of `sql/objects.sql` that make no table."""

FORMAT = {
    "USE_LOGICAL_TYPE": "TRUE",
    "BINARY_AS_TEXT": "FALSE",
    "TRIM_SPACE": "FALSE",
    "REPLACE_INVALID_CHARACTERS": "FALSE",
}
"""The options of a file format by which Parquet is read as it was written."""


def plan_containers(session: Session, names: TargetNames, objects: Mapping[str, Object]) -> Iterator[PlannedStatement]:
    """What is missing is created; what differs is altered, or named where it cannot be altered. By statements that need
    no warehouse. objects: the definitions by their name in `sql/objects.sql`.
    """
    schemas = _schemas(session, names)
    there = {which for which, field in SCHEMAS.items() if getattr(names, field) in (schemas or ())}
    file_format = stage = None
    if "schema_staging" in there:
        file_format = _described(session, "FILE FORMAT", names.sql["file_format"])
        stage = _described(session, "STAGE", names.sql["stage"])
    there |= {"database"} if schemas is not None else set()
    there |= {"file_format"} if file_format is not None else set()
    there |= {"stage"} if stage is not None else set()
    for which in CONTAINERS:
        if which not in there:
            yield PlannedStatement(objects[which].statement, "safe", objects[which].name, "it is not there")
    yield from _file_format(names, file_format or {})
    if url := (stage or {}).get("URL", "").strip("[]\" '"):
        reason = f"is an external stage over {url}, where an internal one is needed; drop or rename it"
        yield PlannedStatement("", "unlike", names.sql["stage"], reason)


def _file_format(names: TargetNames, found: Mapping[str, str]) -> Iterator[PlannedStatement]:
    file_format, kind = names.sql["file_format"], found.get("TYPE", "PARQUET").upper()
    if kind != "PARQUET":
        yield PlannedStatement(
            "", "unlike", file_format, f"is a file format of type {kind}, not PARQUET; drop or rename it"
        )
        return
    other = {name: found[name] for name, value in FORMAT.items() if found.get(name, value).upper() != value}
    if other:
        options = " ".join(f"{option} = {FORMAT[option]}" for option in other)
        reason = f"has {', '.join(f'{option} = {value}' for option, value in other.items())}"
        statement = sql.statement("tables", "alter_file_format", file_format=file_format, options=options)
        yield PlannedStatement(statement, "safe", file_format, reason)


def _schemas(session: Session, names: TargetNames) -> set[str] | None:
    """The schemas of the database that this role may see; None where it may not see the database."""
    try:
        return {row[1] for row in session.run(sql.statement("tables", "show_schemas", **names.sql))}
    except ProgrammingError as error:
        if error.errno not in MISSING:
            raise
        return None


def _described(session: Session, kind: str, name: str) -> dict[str, str] | None:
    """The properties of a file format or stage; None where it is not there, or not for this role to see."""
    try:
        rows = session.run(sql.statement("tables", "describe", kind=kind, object=name))
    except ProgrammingError as error:
        if error.errno not in MISSING:
            raise
        return None
    # Both end with property, its type, its value, and its default.
    return {row[-4].upper(): "" if row[-2] is None else str(row[-2]) for row in rows}
