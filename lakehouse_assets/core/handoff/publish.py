"""Step 6, publish: the one transaction that replaces the slices, compares what arrived, and writes the ledger. Also the
UPDATE that acknowledges a version without other rows.

Does not belong here: what is to be published (`diff.py`), comparing rows (`verify.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from snowflake.connector.errors import Error

from lakehouse_assets.core.handoff import catalog, faults, put, slices, sql, sums, verify, view
from lakehouse_assets.core.handoff.attempt import Attempt, Difference, MovedOnError
from lakehouse_assets.core.handoff.manifest import Manifest
from lakehouse_assets.core.handoff.sums import NOTHING, SliceSum
from lakehouse_assets.core.handoff.trouble import CONFLICT, is_transient
from lakehouse_assets.errors import LakehouseError

logger = logging.getLogger(__name__)

LOCK_SECONDS = 5.0
"""A wait for the lock that is longer than this is worth a warning."""

SHOWN_SLICES, SHOWN_ROWS = 5, 10
"""So many slices and rows an error names where what arrived is not what was sent."""

LIST_CHUNK = 5_000
"""So many slice names are in one IN list; Snowflake takes 16,384."""


def acknowledge(attempt: Attempt) -> None:
    """Record version and batch date by one UPDATE, for no row differs."""
    known = attempt.known
    assert known is not None
    statement = sql.statement("state", "acknowledge", **attempt.names.sql)
    now = (*attempt.snapshot, attempt.through, attempt.complete, attempt.context.owner.id)
    before = (attempt.table, known.handoff_id, known.version, known.lakehouse_id)
    try:
        touched = attempt.session.count(statement, *now, *before)
    except Error as error:
        if error.errno == CONFLICT:
            raise MovedOnError(f"another transaction is in the way: {error}") from error
        raise
    if touched == 0:
        raise MovedOnError("another publisher acknowledged a version meanwhile")


def publish(attempt: Attempt, manifest: Manifest, difference: Difference) -> None:
    """The one transaction. Races show as a conflict, as an error of the lock or of COMMIT, or as another version behind
    the lock.
    """
    locked = finished = False
    try:
        with attempt.session.transaction():
            faults.crash_point("begun")
            _lock(attempt)
            locked = True
            faults.crash_point("locked")
            _refuse_overtaken(attempt)
            _replace(attempt, manifest)
            _enter(attempt, manifest, difference)
            finished = True
        attempt.published = True
    except Error as error:
        if not locked or finished or error.errno == CONFLICT:
            raise MovedOnError(f"another transaction is in the way: {error}") from error
        if is_transient(error):
            raise  # nothing was published, and the same may succeed over a new session
        if not view.is_readable(attempt, manifest):
            raise MovedOnError("the view or staged files were removed before they were read") from error
        _refuse_replaced(attempt)
        name, table = attempt.contract.name, attempt.names.table(attempt.contract)
        raise LakehouseError(
            f"Publishing {name} version {attempt.version} to {table} failed, so nothing was published:"
            f" {error}; fix the cause (`lakehouse plan` shows pending DDL) and run again."
        ) from error


def _refuse_replaced(attempt: Attempt) -> None:
    """Name the cause where the table is none any more; the account's own error does not."""
    try:
        catalog.refuse_replaced(attempt.session, attempt.names, attempt.contract)
    except Error as error:
        logger.warning("%s: could not look what kind of object its table is: %s", attempt.contract.name, error)


def _lock(attempt: Attempt) -> None:
    """Take the row of the state. It writes the version too, as every UPDATE of the row does: the embedded account sees
    a conflict only where two write the same column.
    """
    with attempt.step("lock"):
        attempt.session.run(sql.statement("publish", "lock", **attempt.names.sql), attempt.id, attempt.table)
    if (waited := attempt.seconds["lock"]) > LOCK_SECONDS:
        name = attempt.contract.name
        logger.warning("%s: waited %.1f s for the lock on its state row in OPS.HANDOFF_STATE", name, waited)


def _refuse_overtaken(attempt: Attempt) -> None:
    # A statement of its own, for it then sees what was committed while the lock was waited for.
    found = attempt.session.run(sql.statement("publish", "check", **attempt.names.sql), attempt.table)
    expected = (attempt.known.handoff_id, attempt.known.version) if attempt.known else ("", -1)
    if not found or (found[0][0], int(found[0][1])) != expected:
        raise MovedOnError("another publisher was first")
    if attempt.context.owner.another((row[2], row[3]) for row in found):
        raise MovedOnError("another lakehouse took the database over")


def _replace(attempt: Attempt, manifest: Manifest) -> None:
    session, names, contract = attempt.session, attempt.names, attempt.contract
    table, replaced = names.table(contract), list(manifest.slices)
    predicate = "1 = 1" if manifest.whole else slices.snowflake_predicate(contract, replaced)
    session.run(sql.statement("publish", "delete", table=table, predicate=predicate))
    faults.crash_point("deleted")
    if manifest.files:
        columns = ", ".join(c.upper() for c in contract.names)
        session.run(sql.statement("publish", "insert", table=table, columns=columns, view=names.view(attempt.id)))
    faults.crash_point("inserted")
    chunks = [replaced[i : i + LIST_CHUNK] for i in range(0, len(replaced), LIST_CHUNK)]
    for which in ["1 = 1"] if manifest.whole else [f"SLICE IN ({sql.literals(chunk)})" for chunk in chunks]:
        session.run(sql.statement("publish", "delete_slices", predicate=which, **names.sql), attempt.table)
    query = sums.snowflake_query(names, contract, predicate)
    session.run(sql.statement("publish", "count_slices", sums=query, **names.sql), attempt.table, attempt.id)
    faults.crash_point("counted")
    counted = sql.statement("publish", "counted_slices", **names.sql)
    _compare(attempt, manifest, sums.snowflake_sums(session, counted, attempt.table, attempt.id))
    faults.crash_point("compared")


def _compare(attempt: Attempt, manifest: Manifest, arrived: Mapping[str, SliceSum]) -> None:
    differing = sorted(
        n for n in {*manifest.slices, *arrived} if manifest.slices.get(n, NOTHING) != arrived.get(n, NOTHING)
    )
    if not differing:
        return
    if put.missing_files(attempt, manifest):
        raise MovedOnError("staged files were removed before they were read")
    _refuse_hidden(attempt, manifest, differing)
    if attempt.reused:
        raise MovedOnError("files found on the stage do not hold what their names say", attempt.directory(manifest))
    shown = "; ".join(
        f"slice {n} was sent with {manifest.slices.get(n, NOTHING)} and arrived with {arrived.get(n, NOTHING)}"
        for n in differing[:SHOWN_SLICES]
    )
    more = len(differing) - SHOWN_SLICES
    raise LakehouseError(
        f"What arrived in {attempt.names.table(attempt.contract)} is not what {attempt.contract.name} version"
        f" {attempt.version} holds, so nothing was published: {shown}{f', and {more} more slices' if more > 0 else ''};"
        f" {_differing_rows(attempt, differing[:SHOWN_SLICES])}look at {attempt.target(manifest)} and run again."
    )


def _refuse_hidden(attempt: Attempt, manifest: Manifest, differing: list[str]) -> None:
    """Raise `LakehouseError` where the staged files hold what was sent and the table that was filled from them reads
    otherwise: then a policy hides from this role what is there, and no repetition helps.
    """
    if not manifest.files:
        return
    staged = sums.snowflake_query(attempt.names, attempt.contract, table=attempt.names.view(attempt.id))
    if sums.snowflake_sums(attempt.session, staged) != {n: s for n, s in manifest.slices.items() if s.rows}:
        return
    table, shown = attempt.names.table(attempt.contract), ", ".join(differing[:SHOWN_SLICES])
    masked = catalog.masked_columns(attempt.session, table)
    what = f"a masking policy on {', '.join(masked)}" if masked else "a masking or row access policy"
    raise LakehouseError(
        f"{table} reads otherwise than it was filled, so nothing was published (slices {shown}): {what} hides from this"
        " role what is there; let the policy show the loading role true values and all rows, and run again."
    )


def _differing_rows(attempt: Attempt, names: list[str]) -> str:
    """The rows that arrived otherwise, by key and columns. Asked within the transaction, where the table shows what is
    not to be published.
    """
    session, at, contract = attempt.session, attempt.names, attempt.contract
    try:
        rows = verify.row_differences(
            session, at, attempt.store, attempt.spark, contract, attempt.version, names, SHOWN_ROWS
        )
    except Exception as error:  # of the engine or of the account; the slices are named without the rows as well
        return f"its rows could not be compared ({error}); "
    described = [
        " ".join([r.kind, str(dict(r.key)), *(["in", ", ".join(r.columns)] if r.columns else [])]) for r in rows
    ]
    return f"for example {'; '.join(described)}; " if described else ""


def _enter(attempt: Attempt, manifest: Manifest, difference: Difference) -> None:
    """The row of the ledger, then that of the state."""
    statement = sql.statement("publish", "enter", **attempt.names.sql)
    table = (attempt.table, attempt.contract.name, attempt.delta_table_id)
    versions = (manifest.since, manifest.until, manifest.through, attempt.fingerprint)
    replaced = (len(manifest.slices), manifest.rows, manifest.hash)
    files = (len(manifest.files), manifest.bytes, attempt.directory(manifest) if manifest.files else "")
    attempt.session.run(statement, attempt.id, *table, *versions, *replaced, *files, manifest.json())
    faults.crash_point("entered")
    statement = sql.statement("publish", "advance", **attempt.names.sql)
    now = (*attempt.snapshot, attempt.fingerprint, attempt.id, attempt.through)
    held = (sum(s.rows for s in difference.after()), sum(s.hash for s in difference.after()))
    attempt.session.run(statement, *now, *held, attempt.complete, attempt.context.owner.id, attempt.table)
    faults.crash_point("acknowledged")
