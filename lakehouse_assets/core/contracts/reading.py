"""A pandera model → the parts of its contract (`parts.py`).

Belongs here: everything that knows pandera's schema or the names in `Config.metadata`. Does not belong here: whether
the parts fit one another (`contract.py`). Every function raises `LakehouseError`, naming the table, for what it cannot
read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pandera.polars as pa
import polars as pl

from lakehouse_assets.core.contracts.parts import Blocking, Column, ColumnType, Kind, Rule, Severity, TableRule
from lakehouse_assets.errors import LakehouseError

SAID = {
    "key",
    "partition_by",
    "z_order_by",
    "business_date",
    "volume_by",
    "handoff",
    "blocking",
    "owner",
    "severity",
    "rows",
    "references",
    "agrees",
    "single",
}
"""What a model's `Config.metadata` may hold."""

SHORT_NAMES = {
    "equal_to": "eq",
    "not_equal_to": "ne",
    "greater_than": "gt",
    "greater_than_or_equal_to": "ge",
    "less_than": "lt",
    "less_than_or_equal_to": "le",
}
"""pandera's long check names and the short ones by which `Field` takes them; rules are named by the short ones."""

PROBLEMS = (".type", ".scale")
"""How the problems of converting a value end, to which a contract may give a severity beside its rules."""


def schema_of(table: str, model: type[pa.DataFrameModel]) -> pa.DataFrameSchema:
    """The schema that pandera makes of a model."""
    try:
        return model.to_schema()
    except AttributeError as error:  # what pandera says of a name in Config that it does not know
        raise LakehouseError(
            f"The contract of {table} cannot be read by pandera: {error}; check the spelling in its Config."
        ) from error


def config_of(table: str, model: type[pa.DataFrameModel]) -> dict[str, Any]:
    """What the model's `Config.metadata` holds."""
    config = dict(model.__config__.metadata or {})  # type: ignore[union-attr]
    if foreign := sorted(config.keys() - SAID):
        raise LakehouseError(
            f"The contract of {table} says {', '.join(foreign)} in Config.metadata, which nobody reads; it may say"
            f" {', '.join(sorted(SAID))}."
        )
    return config


def part(table: str, config: Mapping[str, Any], name: str, kind: Callable[..., Any]) -> Any:
    """What Config.metadata says under a name, as an object of its kind."""
    if name not in config:
        return None
    try:
        return kind(**config[name])
    except TypeError as error:
        raise LakehouseError(
            f"The contract of {table} says {config[name]} as {name}, which cannot be read ({error}); check its names."
        ) from error


def columns_of(table: str, schema: Any) -> tuple[Column, ...]:
    """The columns, in the order of the model."""
    return tuple(
        Column(
            name=name,
            type=_column_type(f"{table}.{name}", column.dtype.type),
            nullable=bool(column.nullable),
            description=column.description or "",
            personal=bool((column.metadata or {}).get("personal")),
            derived=bool((column.metadata or {}).get("derived")),
        )
        for name, column in schema.columns.items()
    )


def _column_type(where: str, dtype: Any) -> ColumnType:
    if isinstance(dtype, pl.Decimal):
        return ColumnType("decimal", dtype.precision or 38, dtype.scale)
    if isinstance(dtype, pl.Datetime):
        return ColumnType("timestamp" if dtype.time_zone else "timestamp_ntz")
    simple: dict[Any, Kind] = {pl.String: "string", pl.Int64: "bigint", pl.Boolean: "boolean", pl.Date: "date"}
    for polars_type, kind in simple.items():
        if dtype == polars_type:
            return ColumnType(kind)
    if isinstance(dtype, pl.List) and dtype.inner == pl.String:
        return ColumnType("list")
    raise LakehouseError(
        f"The contract column {where} has type {dtype}, which is not one of core/contracts/types.py; use one of those."
    )


def severities_of(table: str, said: Mapping[str, Any]) -> tuple[dict[str, Severity], dict[str, Blocking]]:
    """The severity of each rule that is given one, and the allowance of those that block above a number of rows."""
    severities: dict[str, Severity] = {}
    allowances: dict[str, Blocking] = {}
    for rule, severity in said.items():
        if isinstance(severity, Mapping) and severity and severity.keys() <= {"rows", "share"}:
            severities[rule], allowances[rule] = "block", Blocking(**severity)
        elif severity in ("quarantine", "block", "warn"):
            severities[rule] = severity
        else:
            raise LakehouseError(
                f"The contract of {table} gives {rule} the severity {severity!r}; write quarantine, block, warn, or the"
                " rows and share of a drop that may break it."
            )
    return severities, allowances


def table_rules_of(config: dict[str, Any], severities: dict[str, Severity]) -> tuple[TableRule, ...]:
    """The rules over the whole table."""
    rules = []
    if bounds := config.get("rows"):
        rules.append(TableRule("rows.bounds", "rows", "block", least=bounds.get("min", 0), most=bounds.get("max")))
    for column, other in config.get("references", {}).items():
        rules.append(TableRule(f"{column}.references", "references", "block", column, other))
    if said := config.get("agrees"):
        by = said["by"] if isinstance(said["by"], dict) else {name: name for name in said["by"]}
        rule = TableRule(
            "",
            "agrees",
            "block",
            other=said["with"],
            by=tuple(by),
            theirs=tuple(by.values()),
            gate=said.get("gate", ""),
        )
        for column, (of, where) in said["sums"].items():
            rules.append(replace(rule, name=f"{column}.agrees", column=column, of=of, where=tuple(where.items())))
    for column, by in config.get("single", {}).items():
        rules.append(TableRule(f"{column}.single", "single", "block", column, by=tuple(by)))
    return tuple(replace(rule, severity=severities.get(rule.name, "block")) for rule in rules)


def rules_of(table: str, schema: Any, severities: dict[str, Severity], table_rules: set[str]) -> tuple[Rule, ...]:
    """The rules of rows. table_rules: the names of those over the whole table."""
    rules: list[Rule] = []

    def add(
        column: str | None, check: str, statistics: dict[str, Any], description: str = "", derived: bool = False
    ) -> None:
        name = f"{column or 'row'}.{SHORT_NAMES.get(check, check)}"
        frozen = tuple(sorted((k, _frozen(v)) for k, v in statistics.items()))
        rules.append(
            Rule(
                name,
                column,
                SHORT_NAMES.get(check, check),
                frozen,
                severities.get(name, "quarantine"),
                description,
                derived,
            )
        )

    for column_name, column in schema.columns.items():
        derived = bool((column.metadata or {}).get("derived"))
        if not column.nullable:
            add(column_name, "nullable", {}, f"{column_name} must not be null", derived)
        for check in column.checks:
            add(column_name, check.name, check.statistics or {}, check.description or "", derived)
    for check in schema.checks or []:
        add(None, check.name, check.statistics or {}, check.description or "")
    unknown = set(severities) - {r.name for r in rules} - table_rules - {n for n in severities if n.endswith(PROBLEMS)}
    if unknown:
        raise LakehouseError(
            f"The contract of {table} gives a severity to {sorted(unknown)}, but has no such rule; check the spelling."
        )
    return tuple(rules)


def _frozen(value: Any) -> Any:
    """Lists and sets as tuples, sets sorted: their order differs from process to process, and the fingerprint must
    not.
    """
    if isinstance(value, (set, frozenset)):
        return tuple(sorted(value, key=repr))
    return tuple(value) if isinstance(value, list) else value
