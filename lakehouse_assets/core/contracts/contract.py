"""Reads a pandera model into a `Contract`: columns, types, keys, rules, hand-off slice, fingerprint.

Belongs here: everything that can be said of a table from its model alone (Arrow and Spark schema, Delta and Snowflake
types). Does not belong here: the SQL of a rule and the judging of rows (`core/quality/rules.py`), DDL statements
(`core/delta/`, `core/handoff/`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import pandera.polars as pa
import polars as pl
import pyarrow as arrow

from lakehouse_assets.core.contracts.naming import refuse_names
from lakehouse_assets.errors import LakehouseError

Severity = Literal["quarantine", "block", "warn"]
Kind = Literal["string", "bigint", "boolean", "date", "timestamp", "timestamp_ntz", "decimal", "list"]

SHORT_NAMES = {
    "equal_to": "eq",
    "not_equal_to": "ne",
    "greater_than": "gt",
    "greater_than_or_equal_to": "ge",
    "less_than": "lt",
    "less_than_or_equal_to": "le",
}
"""pandera's long check names and the short ones by which `Field` takes them; rules are named by the short ones."""


@dataclass(frozen=True)
class ColumnType:
    """A logical column type; `precision` and `scale` are set for decimals only. `list` is a list of strings."""

    kind: Kind
    precision: int = 0
    scale: int = 0

    @property
    def arrow(self) -> arrow.DataType:
        return {
            "string": arrow.string(),
            "bigint": arrow.int64(),
            "boolean": arrow.bool_(),
            "date": arrow.date32(),
            "timestamp": arrow.timestamp("us", "UTC"),
            "timestamp_ntz": arrow.timestamp("us"),
            "list": arrow.list_(arrow.string()),
        }.get(self.kind) or arrow.decimal128(self.precision, self.scale)

    @property
    def spark(self) -> str:
        """The type in Spark SQL, as used by `cast`."""
        return {"decimal": f"decimal({self.precision},{self.scale})", "list": "array<string>"}.get(self.kind, self.kind)

    @property
    def snowflake(self) -> str:
        """The type in Snowflake DDL."""
        return {
            "string": "VARCHAR",
            "bigint": "NUMBER(38,0)",
            "boolean": "BOOLEAN",
            "date": "DATE",
            "timestamp": "TIMESTAMP_TZ",
            "timestamp_ntz": "TIMESTAMP_NTZ",
            "decimal": f"NUMBER({self.precision},{self.scale})",
            "list": "ARRAY",
        }[self.kind]


@dataclass(frozen=True)
class Rule:
    """One row rule of a contract.

    `name` is `<column>.<check>` (or `row.<check>` for a rule over the whole row); `check` and `statistics` are
    pandera's own.
    """

    name: str
    column: str | None
    check: str
    statistics: tuple[tuple[str, Any], ...]
    severity: Severity
    description: str
    derived: bool = False
    """The column is computed from others, so the rule is judged only on rows that break no rule of a landed column."""


@dataclass(frozen=True)
class TableRule:
    """One rule over a whole table, beside those over its rows.

    kind: `rows` (there are from `least` to `most` of them), `references` (`column` holds only keys of the table
    `other`), `agrees` (`column`, summed by the columns `by`, is the sum of the column `of` of `other` by `theirs` over
    its rows that hold the values `where`), `single` (rows with the same values of `by` have the same `column`). gate:
    the upstream, which has the same columns as `other`, against which the step judges the sums of the days it touches.
    Severity `block` makes its check red, `warn` amber.
    """

    name: str
    kind: Literal["rows", "references", "agrees", "single"]
    severity: Severity
    column: str = ""
    other: str = ""
    by: tuple[str, ...] = ()
    of: str = ""
    where: tuple[tuple[str, Any], ...] = ()
    least: int = 0
    most: int | None = None
    theirs: tuple[str, ...] = ()
    gate: str = ""


@dataclass(frozen=True)
class Column:
    name: str
    type: ColumnType
    nullable: bool
    description: str
    personal: bool = False
    derived: bool = False


@dataclass(frozen=True)
class HandoffSlice:
    """The unit in which a table travels to Snowflake.

    `kind`: `column` (one slice a value of `column`, a date), `hash` (`hash(key) mod buckets`), `whole` (the table is
    one slice).
    """

    kind: Literal["column", "hash", "whole"]
    column: str | None = None
    buckets: int = 0

    def can_be(self, names: Collection[str]) -> bool:
        """Whether a table of these columns can travel so."""
        return (self.kind, self.column in names, self.buckets > 0) in (
            ("column", True, False),
            ("hash", False, True),
            ("whole", False, False),
        )


@dataclass(frozen=True)
class Blocking:
    """A drop is refused when its bad rows, or those that break one rule, are more than `rows` and more than `share` of
    its rows.
    """

    rows: int = 0
    share: float = 0.0


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


class Contract:
    """What one table promises, read from its pandera model.

    The model's `Config.metadata` may hold `key`, `partition_by`, `z_order_by` (columns by which maintenance sorts rows
    into files), `business_date` (the column with the day a row is about), `volume_by` (the date column by which the
    rows of the last day are compared with those of days before), `handoff`, `blocking`, `owner`, `severity` (rule name
    to severity; in place of `block` how many `rows`, and what `share`, of a drop may break the rule), and rules over
    the whole table: `rows` (`min`, `max`), `references` (column to the table whose key it holds), `agrees` (`with`,
    `by`: columns, or column to column there, `sums`: column to [column there, values that its rows hold], `gate`),
    `single` (column to the columns of which it is the only value). The latter are named `rows.bounds`,
    `<column>.references`, `<column>.agrees` and `<column>.single`. `docs/writing-contracts.md` shows each. Raises
    `LakehouseError` when the model says something that cannot be kept.
    """

    def __init__(self, name: str, model: type[pa.DataFrameModel]):
        self.name = name
        self.layer, self.table = name.split(".")
        self.model = model
        try:
            schema = model.to_schema()
        except AttributeError as error:  # what pandera says of a name in Config that it does not know
            raise LakehouseError(
                f"The contract of {name} cannot be read by pandera: {error}; check the spelling in its Config."
            ) from error
        refuse_names(name, self.table, schema.columns)
        config = dict(model.__config__.metadata or {})  # type: ignore[union-attr]
        if foreign := sorted(config.keys() - SAID):
            raise LakehouseError(
                f"The contract of {name} says {', '.join(foreign)} in Config.metadata, which nobody reads; it may say"
                f" {', '.join(sorted(SAID))}."
            )
        self.description = (model.__doc__ or "").strip()
        self.owner: str = config.get("owner", "team:data-platform")
        self.key: tuple[str, ...] = tuple(config.get("key", ()))
        self.partition_by: tuple[str, ...] = tuple(config.get("partition_by", ()))
        self.z_order_by: tuple[str, ...] = tuple(config.get("z_order_by", ()))
        self.business_date: str | None = config.get("business_date")
        self.volume_by: str | None = config.get("volume_by")
        self.handoff: HandoffSlice | None = _part(name, config, "handoff", HandoffSlice)
        self.blocking: Blocking | None = _part(name, config, "blocking", Blocking)
        self.columns: tuple[Column, ...] = tuple(
            Column(
                name=column_name,
                type=_column_type(f"{name}.{column_name}", column.dtype.type),
                nullable=bool(column.nullable),
                description=column.description or "",
                personal=bool((column.metadata or {}).get("personal")),
                derived=bool((column.metadata or {}).get("derived")),
            )
            for column_name, column in schema.columns.items()
        )
        self.severities, self.allowances = _severities(name, config.get("severity", {}))
        self.table_rules: tuple[TableRule, ...] = _table_rules(config, self.severities)
        self.rules: tuple[Rule, ...] = _rules(name, schema, self.severities, {r.name for r in self.table_rules})
        ownerless = [n for n in self.allowances if n in {r.name for r in self.table_rules} or self.blocking is None]
        if ownerless:
            raise LakehouseError(
                f"The contract of {name} says how many rows of a drop may break {', '.join(ownerless)}, but judges no"
                " drops by it; write block or warn."
            )
        unknown = [k for k in (*self.key, *self.partition_by) if k not in self.names]
        if unknown:
            raise LakehouseError(
                f"The contract of {name} names {unknown} as key or partition, but has no such column; add it to the"
                " model."
            )
        ordering = {c.name for c in self.columns if c.type.kind in ("string", "bigint", "date")} - set(
            self.partition_by
        )
        if foreign := [c for c in self.z_order_by if c not in ordering]:
            raise LakehouseError(
                f"The contract of {name} is z-ordered by {', '.join(foreign)}, which is no column of texts, whole"
                " numbers or dates beside the partition column; name one that is."
            )
        if self.business_date and {c.name: c.type.kind for c in self.columns}.get(self.business_date) != "date":
            raise LakehouseError(
                f"The contract of {name} names {self.business_date!r} as business date, but has no such date; name a"
                " column of type Day."
            )
        if self.handoff and not self.handoff.can_be(self.names):
            raise LakehouseError(
                f"The contract of {name} is handed off by {config['handoff']}; write a column of its own for the kind"
                " column, at least 1 bucket for the kind hash, and nothing more for the kind whole."
            )

    @classmethod
    def of(cls, model: type[pa.DataFrameModel]) -> Contract:
        """The contract of a model that names its table in `Config.name`, as `layer.table`."""
        name = model.__config__.name or ""  # type: ignore[union-attr]
        if not re.fullmatch(r"(bronze|silver|gold)\.\w+", name):
            raise LakehouseError(
                f"The contract {model.__name__} in {model.__module__} names no table; write its name in Config, as"
                ' name = "gold.daily_sales".'
            )
        return cls(name, model)

    @property
    def summary(self) -> str:
        """The first line of the description; empty where the model has none."""
        return self.description.partition("\n")[0]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.columns)

    def column(self, name: str) -> Column:
        return next(c for c in self.columns if c.name == name)

    @cached_property
    def arrow_schema(self) -> arrow.Schema:
        """The Arrow schema, in the order of the model; nullability as promised."""
        return arrow.schema([arrow.field(c.name, c.type.arrow, c.nullable) for c in self.columns])

    @cached_property
    def fingerprint(self) -> str:
        """12 hex digits that change whenever the promise changes."""
        said = {
            "columns": [[c.name, c.type.spark, c.nullable, c.personal, c.derived] for c in self.columns],
            "key": self.key,
            "partition_by": self.partition_by,
            "handoff": vars(self.handoff) if self.handoff else None,
            "blocking": vars(self.blocking) if self.blocking else None,
            "rules": [[r.name, r.check, r.statistics, r.severity] for r in self.rules],
            **(
                {"problems": problems}
                if (problems := {n: s for n, s in self.severities.items() if n.endswith(_PROBLEMS)})
                else {}
            ),
            **({"allowances": {n: vars(a) for n, a in self.allowances.items()}} if self.allowances else {}),
            **({"table_rules": [vars(r) for r in self.table_rules]} if self.table_rules else {}),
        }
        return hashlib.sha256(json.dumps(said, default=str, sort_keys=True).encode()).hexdigest()[:12]

    def __repr__(self) -> str:
        return f"Contract({self.name})"


def _part(table: str, config: Mapping[str, Any], name: str, kind: Callable[..., Any]) -> Any:
    """What Config.metadata says under a name, as an object of its kind."""
    if name not in config:
        return None
    try:
        return kind(**config[name])
    except TypeError as error:
        raise LakehouseError(
            f"The contract of {table} says {config[name]} as {name}, which cannot be read ({error}); check its names."
        ) from error


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


def _frozen(value: Any) -> Any:
    """Lists and sets as tuples, sets sorted: their order differs from process to process, and the fingerprint must
    not.
    """
    if isinstance(value, (set, frozenset)):
        return tuple(sorted(value, key=repr))
    return tuple(value) if isinstance(value, list) else value


_PROBLEMS = (".type", ".scale")
"""How the problems of converting a value end, to which a contract may give a severity beside its rules."""


def _severities(table: str, said: Mapping[str, Any]) -> tuple[dict[str, Severity], dict[str, Blocking]]:
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


def _table_rules(config: dict[str, Any], severities: dict[str, Severity]) -> tuple[TableRule, ...]:
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


def _rules(table: str, schema: Any, severities: dict[str, Severity], table_rules: set[str]) -> tuple[Rule, ...]:
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
    unknown = set(severities) - {r.name for r in rules} - table_rules - {n for n in severities if n.endswith(_PROBLEMS)}
    if unknown:
        raise LakehouseError(
            f"The contract of {table} gives a severity to {sorted(unknown)}, but has no such rule; check the spelling."
        )
    return tuple(rules)
