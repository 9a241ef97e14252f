"""Step 1, diff: which slices of a table differ from what Snowflake has acknowledged.

Belongs here: whether versions may be compared, and which slices are to travel. Does not belong here: computing sums
(`sums.py`).
"""

from __future__ import annotations

import logging

from lakehouse_assets.core.contracts import Contract
from lakehouse_assets.core.delta.change_feed import HistoryUnavailableError
from lakehouse_assets.core.delta.findings import Finding
from lakehouse_assets.core.delta.store import DeltaStore
from lakehouse_assets.core.handoff import export, sums
from lakehouse_assets.core.handoff.attempt import Attempt, Difference
from lakehouse_assets.core.handoff.state import TableState, read_slices
from lakehouse_assets.core.handoff.sums import NOTHING

logger = logging.getLogger(__name__)


def short_of(name: str, table_id: str, version: int, known: TableState) -> Finding | None:
    """What is wrong with a Delta table that is behind what Snowflake has acknowledged of it. table_id, version: of the
    table as it is.
    """
    if known.delta_table_id != table_id or known.version <= version:
        return None
    what = f"ends early: the table is at version {version}, and Snowflake has version {known.version}"
    return Finding(name, "_delta_log", what, f"the rows of {known.version - version} versions")


def continues(store: DeltaStore, contract: Contract, known: TableState) -> bool:
    """Whether what Snowflake has acknowledged is a version of this very table and history, so that versions may be
    compared.

    The id alone does not tell: a table put back from a copy keeps it, and counts the same versions again for other
    rows. No statement.
    """
    if known.fingerprint != sums.schema_fingerprint(contract) or known.delta_table_id != store.table_id(contract.name):
        return False
    digest = store.digest(contract.name, known.version)
    # Where the log had let go of the commit already when it was acknowledged, there is nothing to compare but the
    # versions.
    return digest == known.delta_commit and (digest != "" or known.version <= store.version(contract.name))


def difference(attempt: Attempt, fits: bool) -> Difference:
    """The slices whose rows differ. Counts and hashes decide, so that a slice that changed and changed back
    stays. fits: what `continues` says.
    """
    known, contract, force = attempt.known, attempt.contract, attempt.force
    if known is None or known.version < 0 or known.fingerprint != attempt.fingerprint:
        return Difference("whole", True, sums.spark_sums(attempt.frame(), contract), {})
    touched = _touched(attempt) if fits and attempt.since <= attempt.version else None
    compared = "sums" if touched is None else "history"
    if touched == []:
        return Difference(compared, False, {}, {})
    published = read_slices(attempt.session, attempt.names, attempt.table)
    held = sums.spark_sums(attempt.frame(touched), contract, touched)
    candidates = touched if touched is not None else sorted({*held, *published, *force})
    differing = {
        n: held.get(n, NOTHING) for n in candidates if n in force or held.get(n, NOTHING) != published.get(n, NOTHING)
    }
    return Difference("request" if force else compared, False, differing, published)


def _touched(attempt: Attempt) -> list[str] | None:
    """The slices of rows that came or went since, and those asked for; None where the history is gone."""
    name = attempt.contract.name
    try:
        changes = attempt.store.changes(attempt.spark, name, attempt.since, attempt.version)
        return sorted({*export.touched_slices(changes, attempt.contract), *attempt.force})
    except HistoryUnavailableError as error:
        logger.info("%s: comparing all slices, for the history is gone (%s)", name, error)
        return None
