"""Step 7, tidy: what a hand-off leaves behind, its own and that of dead or lost ones, and in which order it goes.

Belongs here: removing views, files and intents. Does not belong here: what is shown of them (`status.py`).
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Collection

from lakehouse_assets.core.handoff import faults, sql, stage, view
from lakehouse_assets.core.handoff.attempt import Attempt, Context
from lakehouse_assets.core.handoff.manifest import Manifest
from lakehouse_assets.core.handoff.state import Intent, read_state
from lakehouse_assets.core.handoff.trouble import TROUBLE

logger = logging.getLogger(__name__)


def tidy(attempt: Attempt, manifest: Manifest) -> None:
    """Clear up after a hand-off that is published."""
    view.drop(attempt.context, attempt.id)
    faults.crash_point("dropped")
    _remove_outlived(attempt, manifest)
    faults.crash_point("swept")
    # The intent goes last: while it is there, the next run knows what may be left.
    _forget(attempt.context, attempt.intent)
    faults.crash_point("tidied")


def _remove_outlived(attempt: Attempt, manifest: Manifest) -> None:
    """Remove directories of this table that are older than retention allows, unless a hand-off of it is under way."""
    own, retention = attempt.directory(manifest), attempt.context.retention
    old = [d for d in stage.outlived(attempt.listed, retention) if d != own]
    if manifest.files and not retention:
        old.append(own)
    if not old:
        return
    intents = attempt.session.run(sql.statement("state", "rivals", **attempt.names.sql), attempt.table)[0][0]
    if intents <= 1 + len(attempt.dead):  # one is this hand-off's own
        stage.remove(attempt.session, attempt.names.stage_path, old)


def _forget(context: Context, intent: Intent) -> None:
    """Remove the local files of a hand-off, then its intent."""
    shutil.rmtree(context.local_folder(intent.table, intent.handoff_id), ignore_errors=True)
    context.session.run(sql.statement("state", "settle", **context.names.sql), intent.handoff_id)


def try_settle(context: Context, intent: Intent) -> None:
    """Clear up after a hand-off that is over or dead: its view, its local files, its intent; in this order, so that
    each can be repeated. Failing is no more than a warning: what is left hinders nobody, and the next run tries again.
    """
    try:
        view.drop(context, intent.handoff_id)
        _forget(context, intent)
    except TROUBLE as error:
        logger.warning("%s: could not clear up after hand-off %s: %s", intent.table, intent.handoff_id, error)


def clear_up(attempts: list[Attempt]) -> None:
    """Clear up after the lost attempts of a hand-off and dead hand-offs of its table; no statement where there was
    neither.

    Only after the last attempt, for it may have had use for the files they sent. Another publisher may be about to read
    files that are removed here, if it sends the same rows: it will find that they are missing, and send them.
    """
    context, table, contract = attempts[-1].context, attempts[-1].table, attempts[-1].contract
    dead = {i.handoff_id: i for a in attempts for i in a.dead}
    lost = {a.sent for a in attempts if a.sent and not a.published}
    others = False
    if lost or not all(i.published for i in dead.values()):
        # In this order: what was sent before the listing has its intent or its ledger row when these are read.
        there = {e.directory for e in stage.list_files(context.session, context.names.directory(contract))}
        state = read_state(context.session, context.names)
        others = any(i.table == table and i.handoff_id not in dead for i in state.intents)
        going = unpublished(context, there & lost if others else there, table)
        stage.remove(context.session, context.names.stage_path, going)
    for intent in dead.values():
        # The intent of one that sent files stays until these have been cleared up.
        if intent.published or not others:
            try_settle(context, intent)


def unpublished(context: Context, directories: Collection[str], tables: str = "%") -> set[str]:
    """Those of some stage directories that no hand-off published from."""
    entered = context.session.run(sql.statement("state", "directories", **context.names.sql), tables)
    return set(directories) - {row[0] for row in entered}


def sweep(context: Context) -> int:
    """Clear up after dead hand-offs of all tables; remove stage files that nobody published from and those that
    retention lets go.

    Returns the number of directories removed. Each hand-off does this for its own table; this is for tables that no
    longer are handed off.
    """
    session, names = context.session, context.names
    for intent in read_state(session, names).intents:
        if intent.abandoned(context.abandoned_seconds):
            try_settle(context, intent)
    entries = stage.list_files(session, names.stage_path)
    busy = {i.table for i in read_state(session, names).intents}
    going = {*stage.outlived(entries, context.retention), *unpublished(context, {e.directory for e in entries})}
    removed = [d for d in going if d.partition("/")[0].upper() not in busy]
    stage.remove(session, names.stage_path, removed)
    return len(removed)
