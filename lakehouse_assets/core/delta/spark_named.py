"""Delta tables that a catalogue names, as Unity Catalog does: `catalog.layer.table`. Where their files are is the
catalogue's business, and this process never asks.

Does not belong here: how they are written (`spark.py`, `spark_options.py`).
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from lakehouse_assets.core.contracts import Contract
from lakehouse_assets.core.delta.commits import Consumed
from lakehouse_assets.core.delta.spark import DeltaSparkStore
from lakehouse_assets.core.delta.spark_options import DeltaOptionsStore
from lakehouse_assets.core.names import layer_of, short_name
from lakehouse_assets.core.spark_sql import literal, quoted

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, DataFrameReader, SparkSession


class Named(DeltaSparkStore):
    """The tables of a catalogue, which is the store's root: a schema for each layer, a managed table for each name."""

    def uri(self, name: str) -> str:
        return f"{self.root}.{name}"

    def sql_name(self, name: str) -> str:
        return f"{self._schema(name)}.{quoted(short_name(name))}"

    def _schema(self, name: str) -> str:
        return f"{quoted(self.root)}.{quoted(layer_of(name))}"

    def _rows(self, spark: SparkSession, name: str, version: int) -> DataFrame:
        return spark.sql(f"SELECT * FROM {self.sql_name(name)} VERSION AS OF {int(version)}")

    def _load(self, reader: DataFrameReader, name: str) -> DataFrame:
        return reader.table(self.sql_name(name))

    def create(self, contract: Contract, consumed: Consumed | None = None) -> int:
        # Whoever may write to a schema that an administrator has made may not always create one.
        layer = layer_of(contract.name)
        if not self._sql(f"SHOW SCHEMAS IN {quoted(self.root)} LIKE {literal(layer)}"):
            self._sql(f"CREATE SCHEMA IF NOT EXISTS {self._schema(contract.name)}")
        return super().create(contract, consumed)

    def digest(self, name: str, version: int) -> str:
        """A digest of what the history says of the commit: its entry in the log is not to be seen by name."""
        newest = self._commits(name, 1)
        commits = self._commits(name, newest[0].version - version + 1) if newest else None
        found = next((c for c in commits or [] if c.version == version), None)
        if found is None:
            return ""
        said = [found.version, found.timestamp_ms, found.operation, dict(found.metadata), dict(found.metrics)]
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


class NamedDeltaSparkStore(Named):
    """Named tables, whose commits say what they are by settings of the session."""


class NamedDeltaOptionsStore(Named, DeltaOptionsStore):
    """Named tables, whose commits say what they are by options of each write."""
