"""Appends to a table that a topic fills, many a minute: one commit adds rows and says how far each partition is.

Every commit has an application transaction for each partition of which it has rows, with the offset after the last one
as its version. A batch names the offsets at which it begins. If the table is at other offsets, nothing is added: they
are compared before the commit, and the protocol refuses a commit whose snapshot lacks another one of the same
application. One more application is shared by all partitions, because each commit records how far all of them are.
Compaction has none of these, so it never conflicts with an append.

Does not belong here: brokers, messages, offsets of a group (`streams/`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError

from lakehouse_assets.core.contracts import Contract
from lakehouse_assets.core.delta.commits import METADATA, Consumed, overtaken, written
from lakehouse_assets.core.delta.store import DeltaStore

_APPLICATION: Final = "lakehouse_assets.topic"
_REOPENED_AFTER: Final = 100
"""A table that is kept open slows down with each of its own commits: 50 ms a commit after 300, 180 ms after 1,800."""


class Appender:
    """One process's way to append to one table."""

    def __init__(self, store: DeltaStore, contract: Contract):
        self._store, self._contract = store, contract
        self._open()

    def _open(self) -> None:
        self._table, self._commits = DeltaTable(self._store.uri(self._contract.name)), 0

    def offset(self, partition: str) -> int | None:
        """Up to which offset the table has a partition; None where it has nothing of it."""
        return self._table.transaction_version(f"{_APPLICATION}/{partition}")

    def append(
        self, rows: pa.Table, spans: Mapping[str, tuple[int | None, int]], watermark: Mapping[str, object]
    ) -> int:
        """Commit rows, and return the version. spans: partition → the offset from which its rows go on, None where they
        are its first, and the one after the last. watermark: how far the table is then.

        Raises `StaleSliceError` where the table is elsewhere; nothing is added then.
        """
        name = self._contract.name
        if self._commits >= _REOPENED_AFTER:
            self._open()
        for partition, (begins, _) in spans.items():
            if (there := self.offset(partition)) != begins:
                raise overtaken(name, f"partition {partition} is at offset {there}, and the rows go on from {begins}")
        consumed = Consumed(contract=self._contract.fingerprint, watermark=watermark)
        properties = CommitProperties(
            custom_metadata={METADATA: written(consumed)},
            app_transactions=[
                Transaction(_APPLICATION, self._table.version() + 1),
                *(Transaction(f"{_APPLICATION}/{partition}", end) for partition, (_, end) in spans.items()),
            ],
        )
        try:
            write_deltalake(self._table, rows, mode="append", commit_properties=properties)
        except CommitFailedError as error:
            raise overtaken(name, error) from error
        self._commits += 1
        version = self._table.version()
        if proof := self._store.proof(name):
            proof.record_one(version)
        return version
