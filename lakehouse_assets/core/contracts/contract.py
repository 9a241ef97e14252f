"""What one table promises, read from its pandera model: columns, types, keys, rules, hand-off slice, fingerprint.

Belongs here: everything that can be said of a table from its model alone. Does not belong here: reading the model
(`reading.py`), the SQL of a rule and the judging of rows (`core/quality/`), DDL statements (`core/delta/`,
`core/handoff/`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import pandera.polars as pa
import pyarrow as arrow

from lakehouse_assets.core.contracts.naming import refuse_names
from lakehouse_assets.core.contracts.parts import Blocking, Column, HandoffSlice, Rule, TableRule
from lakehouse_assets.core.contracts.reading import (
    PROBLEMS,
    columns_of,
    config_of,
    part,
    rules_of,
    schema_of,
    severities_of,
    table_rules_of,
)
from lakehouse_assets.errors import LakehouseError

_PARTITIONING = ("date", "string", "bigint", "boolean")


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
        schema = schema_of(name, model)
        refuse_names(name, self.table, schema.columns)
        config = config_of(name, model)
        self.description = (model.__doc__ or "").strip()
        self.owner: str = config.get("owner", "team:data-platform")
        self.key: tuple[str, ...] = tuple(config.get("key", ()))
        self.partition_by: tuple[str, ...] = tuple(config.get("partition_by", ()))
        self.z_order_by: tuple[str, ...] = tuple(config.get("z_order_by", ()))
        self.business_date: str | None = config.get("business_date")
        self.volume_by: str | None = config.get("volume_by")
        self.handoff: HandoffSlice | None = part(name, config, "handoff", HandoffSlice)
        self.blocking: Blocking | None = part(name, config, "blocking", Blocking)
        self.columns: tuple[Column, ...] = columns_of(name, schema)
        self.severities, self.allowances = severities_of(name, config.get("severity", {}))
        self.table_rules: tuple[TableRule, ...] = table_rules_of(config, self.severities)
        self.rules: tuple[Rule, ...] = rules_of(name, schema, self.severities, {r.name for r in self.table_rules})
        self._refuse_what_does_not_fit(config)

    def _refuse_what_does_not_fit(self, config: Mapping[str, Any]) -> None:
        """Raise `LakehouseError` where what is said beside the columns does not fit them, or one another."""
        where = f"The contract of {self.name}"
        ownerless = [n for n in self.allowances if n in {r.name for r in self.table_rules} or self.blocking is None]
        if ownerless:
            raise LakehouseError(
                f"{where} says how many rows of a drop may break {', '.join(ownerless)}, but judges no"
                " drops by it; write block or warn."
            )
        unknown = [k for k in (*self.key, *self.partition_by) if k not in self.names]
        if unknown:
            raise LakehouseError(
                f"{where} names {unknown} as key or partition, but has no such column; add it to the model."
            )
        self._refuse_partitions(where)
        ordering = {c.name for c in self.columns if c.type.kind in ("string", "bigint", "date")} - set(
            self.partition_by
        )
        if foreign := [c for c in self.z_order_by if c not in ordering]:
            raise LakehouseError(
                f"{where} is z-ordered by {', '.join(foreign)}, which is no column of texts, whole"
                " numbers or dates beside the partition column; name one that is."
            )
        if self.business_date and {c.name: c.type.kind for c in self.columns}.get(self.business_date) != "date":
            raise LakehouseError(
                f"{where} names {self.business_date!r} as business date, but has no such date; name a"
                " column of type Day."
            )
        if self.handoff and not self.handoff.can_be(self.names):
            raise LakehouseError(
                f"{where} is handed off by {config['handoff']}; write a column of its own for the kind"
                " column, at least 1 bucket for the kind hash, and nothing more for the kind whole."
            )

    def _refuse_partitions(self, where: str) -> None:
        kinds = {c.name: c.type.kind for c in self.columns}
        if len(self.partition_by) > 1 or any(kinds[c] not in _PARTITIONING for c in self.partition_by):
            raise LakehouseError(
                f"{where} is partitioned by {', '.join(self.partition_by)}; name one column of days, texts, whole"
                " numbers or flags."
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
                if (problems := {n: s for n, s in self.severities.items() if n.endswith(PROBLEMS)})
                else {}
            ),
            **({"allowances": {n: vars(a) for n, a in self.allowances.items()}} if self.allowances else {}),
            **({"table_rules": [vars(r) for r in self.table_rules]} if self.table_rules else {}),
        }
        return hashlib.sha256(json.dumps(said, default=str, sort_keys=True).encode()).hexdigest()[:12]

    def __repr__(self) -> str:
        return f"Contract({self.name})"
