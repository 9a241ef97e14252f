"""Looking at tables by delta-rs: in milliseconds, and without an engine.

Belongs here: whatever is read from a table's log or, as Arrow, from its files. Does not belong here: writing
(`rs.py`), frames of an engine.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, DeltaProtocolError, TableNotFoundError
from deltalake.fs import DeltaStorageHandler

from lakehouse_assets.core.delta.commits import METADATA, Commit, read_back
from lakehouse_assets.core.delta.files import Among, DataFile, Span
from lakehouse_assets.core.delta.findings import GONE, DamagedTableError, Finding
from lakehouse_assets.core.delta.heads import Head
from lakehouse_assets.core.delta.holds import Holds
from lakehouse_assets.core.delta.log_files import LOG, entry_path
from lakehouse_assets.core.delta.proof import Proof
from lakehouse_assets.core.delta.reader import DeltaReader
from lakehouse_assets.core.delta.rs_rows import spark_type


class DeltaRsReader(DeltaReader):
    """The reading half of a store, but for frames."""

    @cached_property
    def _proofs(self) -> dict[str, Proof]:
        return {}

    @cached_property
    def _seen(self) -> dict[str, tuple[tuple[int, ...], DeltaTable]]:
        """Table → what tells its newest log entry from any other, and the table as it was opened then."""
        return {}

    @cached_property
    def _newest(self) -> dict[str, tuple[tuple[int, ...], Head | None]]:
        """Table → what tells its newest log entry from any other, and the head that goes with it."""
        return {}

    def _open(self, name: str, version: int | None = None) -> DeltaTable:
        """The table, where its log is complete. Raises `DamagedTableError` where it is not, `LakehouseError` where
        there is no table.
        """
        proof = self.proof(name)
        self._refuse_broken_log(name)
        try:
            return DeltaTable(self.uri(name), version=version)
        except TableNotFoundError:
            raise self._missing(name) from None
        except DeltaError as error:
            if proof is None or version is not None:
                raise
            # Something in the log of which nothing was recorded, as a checkpoint that somebody else wrote.
            said = " ".join(str(error).split())[:200]
            raise DamagedTableError([Finding(name, LOG, f"cannot be read: {said}", "all rows")]) from error

    def _look(self, name: str, version: int | None = None) -> DeltaTable:
        """The same, to read and never to write with: opened once for as long as the log has no newer entry. A run looks
        at its tables some hundred times.
        """
        proof = self.proof(name)
        mark = proof.mark() if proof else None
        if mark is None:
            return self._open(name, version)
        seen = self._seen.get(name)
        if seen is None or seen[0] != mark:
            if version not in (None, mark[0]):
                return self._open(name, version)
            # The mark is from before: what is committed meanwhile makes another one.
            seen = self._seen[name] = (mark, self._open(name))
        if version not in (None, seen[1].version()):
            return self._open(name, version)
        self._refuse_broken_log(name)
        return seen[1]

    def _refuse_broken_log(self, name: str) -> None:
        proof = self.proof(name)
        if proof and (found := proof.log_findings()):
            raise DamagedTableError(found)

    # -- proof -------------------------------------------------------------------------------------------------------

    @property
    def holds(self) -> Holds | None:
        return None if "://" in self.root else Holds(Path(self.root))

    def proof(self, name: str) -> Proof | None:
        if "://" in self.root:
            return None
        return self._proofs.setdefault(name, Proof(name, Path(self.uri(name))))

    def forget(self, name: str) -> None:
        super().forget(name)
        self._proofs.pop(name, None)
        self._newest.pop(name, None)
        self._seen.pop(name, None)

    def files(self, name: str, version: int | None = None, within: Span | None = None) -> list[DataFile]:
        return _files(self._look(name, version), within)

    def prove(self, name: str, version: int | None = None, within: Span | None = None) -> None:
        if self.proof(name):
            table = self._look(name, version)
            self._refuse_damaged(name, table, _files(table, within))

    def prove_compacted(self, name: str) -> None:
        # Those that lie together in a partition are written into one.
        if self.proof(name):
            table = self._look(name)
            files = _files(table)
            together = Counter(f.path.rpartition("/")[0] for f in files)
            self._refuse_damaged(name, table, [f for f in files if together[f.path.rpartition("/")[0]] > 1])

    def _refuse_damaged(self, name: str, table: DeltaTable, files: Sequence[DataFile]) -> None:
        proof = self.proof(name)
        found = proof.file_findings(files) if proof else []
        if proof and table.version() < proof.newest():
            # Files of an earlier version may be gone, for a vacuum takes them: that is not damage, and the reader says
            # so.
            found = [f for f in found if f.what != GONE]
        if found:
            raise DamagedTableError(found)

    # -- tables ------------------------------------------------------------------------------------------------------

    def exists(self, name: str) -> bool:
        if DeltaTable.is_deltatable(self.uri(name)):
            return True
        # A table whose log is gone is not one that has never been: it would be created anew, without a word.
        proof = self.proof(name)
        return bool(proof and proof.log_findings())

    def version(self, name: str) -> int:
        return self._look(name).version() if self.exists(name) else -1

    def identity(self, name: str) -> tuple[str, str | None]:
        metadata = self._look(name).metadata()
        return str(metadata.id), metadata.name

    def columns(self, name: str) -> dict[str, str]:
        return {f.name: spark_type(f) for f in self._look(name).schema().fields}

    # -- reading -----------------------------------------------------------------------------------------------------

    def read(self, name: str, version: int | None = None, columns: Sequence[str] | None = None) -> pa.Table:
        table = self._look(name, version)
        self._refuse_damaged(name, table, _files(table))
        return pa.table(table.to_pyarrow_table(columns=list(columns) if columns else None))

    def rows(self, name: str, version: int, columns: Sequence[str], among: Among | None = None) -> pa.Table | None:
        if not self.proof(name):
            return None
        table, span = self._look(name, version), among.span if among else None
        self._refuse_damaged(name, table, _files(table, span))
        try:
            dataset = table.to_pyarrow_dataset()
        except DeltaProtocolError:  # features that only an engine knows
            return None
        only = None
        if among:
            field = ds.field(among.column)
            only = field.isin([v for v in among.values if v is not None])
            # Files and row groups are passed over by the bounds, and not by the list.
            only = (field >= span.least) & (field <= span.greatest) & only if span else only | field.is_null()
        return pa.table(dataset.to_table(columns=list(columns), filter=only))

    def count(self, name: str) -> int:
        return self._look(name).count()

    def counts(self, name: str, column: str, least: Any, greatest: Any) -> dict[Any, int]:
        table = self._look(name)
        if column in table.metadata().partition_columns:
            files = pa.table(table.get_add_actions(flatten=True))
            found = pa.table({column: files[f"partition.{column}"], "rows": files["num_records"]})
            counted = found.group_by(column).aggregate([("rows", "sum")])
            return {
                value: rows
                for value, rows in zip(*counted.to_pydict().values(), strict=True)
                if least <= value <= greatest
            }
        self.prove(name, table.version(), Span(column, least, greatest))
        within = (ds.field(column) >= least) & (ds.field(column) <= greatest)
        counted = (
            table.to_pyarrow_dataset()
            .to_table(columns=[column], filter=within)
            .group_by(column)
            .aggregate([([], "count_all")])
        )
        return dict(zip(*counted.to_pydict().values(), strict=True))

    # -- history -----------------------------------------------------------------------------------------------------

    def head(self, name: str) -> Head | None:
        # The head of a table whose newest entry is the one that is known needs no look by delta-rs, which opens the
        # whole log: it is asked for very often.
        proof = self.proof(name)
        mark = proof.mark() if proof else None
        if proof is None or mark is None:
            return super().head(name)
        self._refuse_broken_log(name)
        known = self._newest.get(name)
        if known is None or known[0] != mark:
            known = self._newest[name] = (mark, super().head(name))
        return known[1]

    def _commits(self, name: str, limit: int | None) -> list[Commit] | None:
        if not self.exists(name):
            return None
        return [
            Commit(
                version=entry["version"],
                timestamp_ms=entry["timestamp"],
                operation=entry["operation"],
                metadata=read_back(entry.get(METADATA)),
                metrics=entry.get("operationMetrics", {}),
            )
            for entry in self._look(name).history(limit)
        ]

    def digest(self, name: str, version: int) -> str:
        try:
            with DeltaStorageHandler(self.uri(name)).open_input_file(entry_path(version)) as commit:
                return hashlib.sha256(commit.read()).hexdigest()
        except FileNotFoundError:
            return ""

    def is_gone(self, name: str, version: int, error: Exception) -> bool:
        try:
            table = DeltaTable(self.uri(name), version=version)
        except DeltaError as broken:
            # The log cannot give the version, unless it is the storage that gives no log.
            return "object store" not in str(broken).lower()
        return bool(table.repair(dry_run=True)["files_removed"])


def _files(table: DeltaTable, within: Span | None = None) -> list[DataFile]:
    found = pa.table(table.get_add_actions(flatten=True))
    if within is not None:
        for least, greatest in (
            (f"partition.{within.column}",) * 2,
            (f"min.{within.column}", f"max.{within.column}"),
        ):
            if least in found.column_names:
                may = (ds.field(greatest) >= within.least) & (ds.field(least) <= within.greatest)
                # of a file without statistics nothing is known
                found = found.filter(may | ds.field(least).is_null())
    rows = found["num_records"] if "num_records" in found.column_names else pa.nulls(found.num_rows, pa.int64())
    return [
        DataFile(*f)
        for f in zip(found["path"].to_pylist(), found["size_bytes"].to_pylist(), rows.to_pylist(), strict=True)
    ]
