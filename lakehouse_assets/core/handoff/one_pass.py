"""One pass through the steps of a hand-off, and what it comes to.

Belongs here: the order of the steps. Does not belong here: beginning again (`handoff.py`), a step (each has a module of
its name; record is in `state.py`).
"""

from __future__ import annotations

import logging

from lakehouse_assets.core.delta.findings import DamagedTableError
from lakehouse_assets.core.handoff import diff, export, faults, publish, put, slices, tidy, view
from lakehouse_assets.core.handoff.attempt import Attempt, Difference, HandoffResult
from lakehouse_assets.core.handoff.manifest import Manifest
from lakehouse_assets.core.handoff.state import record
from lakehouse_assets.core.handoff.trouble import TROUBLE

logger = logging.getLogger(__name__)


def one_pass(attempt: Attempt) -> HandoffResult:
    """One pass. Raises `MovedOnError` where it is to begin again."""
    known, contract = attempt.known, attempt.contract
    if known and (
        finding := diff.short_of(contract.name, attempt.delta_table_id, attempt.store.version(contract.name), known)
    ):
        raise DamagedTableError([finding])
    fits = known is not None and diff.continues(attempt.store, contract, known)
    if fits and (result := _nothing_newer(attempt)):
        return result
    with attempt.step("diff"):
        difference = diff.difference(attempt, fits)
    faults.crash_point("diffed")
    if not difference.whole and not difference.slices:
        return _acknowledged(attempt, difference.compared)
    manifest, bytes_put = _carry(attempt, difference)
    try:
        with attempt.step("tidy"):
            tidy.tidy(attempt, manifest)
    except TROUBLE as error:
        # The rows are published. The intent is still there, so the next hand-off of the table clears up.
        logger.warning("%s: published, but could not clear up after hand-off %s: %s", contract.name, attempt.id, error)
    return HandoffResult(
        contract.name,
        "published",
        attempt.version,
        handoff_id=attempt.id,
        compared=difference.compared,
        slices=tuple(sorted(manifest.slices, key=slices.order(contract))),
        rows=manifest.rows,
        table_rows=sum(s.rows for s in difference.after()),
        files=len(manifest.files),
        bytes_put=bytes_put,
    )


def _nothing_newer(attempt: Attempt) -> HandoffResult | None:
    """The result where Snowflake has this version or a newer one of the same history already; a later batch date of it
    is acknowledged.
    """
    known, version = attempt.known, attempt.version
    # What is asked for by force is of this version too: over a newer one it would publish rows of the past.
    if known is None or version > known.version or (version == known.version and attempt.force):
        return None
    if version == known.version and attempt.complete not in (None, known.complete_through):
        return _acknowledged(attempt)
    return HandoffResult(attempt.contract.name, "unchanged", known.version, table_rows=known.rows)


def _acknowledged(attempt: Attempt, compared: str = "") -> HandoffResult:
    with attempt.step("publish"):
        publish.acknowledge(attempt)
    rows = attempt.known.rows if attempt.known else 0
    return HandoffResult(attempt.contract.name, "acknowledged", attempt.version, compared=compared, table_rows=rows)


def _carry(attempt: Attempt, difference: Difference) -> tuple[Manifest, int]:
    """From the intent to the commit: the manifest, and the bytes that travelled."""
    try:
        with attempt.step("record"):  # within, for the intent may be there although its answer was lost
            record(attempt.session, attempt.names, attempt.intent, registered=attempt.known is not None)
        faults.crash_point("recorded")
        with attempt.step("export"):
            manifest = export.export(attempt, difference)
        faults.crash_point("exported")
        with attempt.step("put"):
            bytes_put = put.put(attempt, manifest)
        faults.crash_point("uploaded")
        with attempt.step("view"):
            view.create(attempt, manifest)
        faults.crash_point("viewed")
        with attempt.step("publish"):
            publish.publish(attempt, manifest, difference)
        faults.crash_point("committed")
        return manifest, bytes_put
    except BaseException:
        # Died of an error, not of SIGKILL: leave nothing for the next run to clear up.
        tidy.try_settle(attempt.context, attempt.intent)
        raise
