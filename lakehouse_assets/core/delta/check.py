"""What is kept is as it was committed: the log of a table, its files, and what other tables have recorded of it.

Belongs here: looking at tables and saying what is wrong with them, setting a damaged one aside. Does not belong here:
sums (`proof.py`), making a table anew.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from lakehouse_assets.core.delta.findings import DamagedTableError, Finding
from lakehouse_assets.core.delta.store import DeltaStore

ASIDE = "_damaged"
"""The folder below the tables' root into which damaged tables are moved."""

_ONLY_COPY = "bronze."
_LAYERS = ("bronze.", "silver.", "gold.")
"""Tables of this layer are not computed from others, so one that was made anew lacks what the former one held."""


@dataclass
class Checked:
    """What a check of one table found. unproven: files that have no proof; None where none of its files can have
    one.
    """

    table: str
    findings: list[Finding] = field(default_factory=list)
    notes: list[Finding] = field(default_factory=list)
    unproven: int | None = 0
    files: int = 0


def short(store: DeltaStore, name: str, readers: Iterable[str]) -> Finding | None:
    """What readers have recorded of a table, where the table is behind that: its log ends early, or it is another table
    now.

    A table of bronze that is another one now, or was restored to an earlier version, lacks what landed; every other is
    computed anew, and so are its readers. A reader that is damaged itself says nothing.
    """
    mine = store.head(name)
    # Of a table that is registered elsewhere too, an engine may give the name that it has there.
    if mine and mine.title and mine.title != name and mine.title.startswith(_LAYERS):
        return Finding(name, "_delta_log", f"is that of the table {mine.title}", "all rows")
    if mine and mine.was_restored and name.startswith(_ONLY_COPY):
        return Finding(
            name,
            "_delta_log",
            "was put back to an earlier version by a RESTORE that is not ours",
            "the rows that landed since",
        )
    for reader in readers:
        try:
            head = store.head(reader)
        except DamagedTableError:
            continue
        if head is None or head.consumed is None or name not in head.consumed.upstreams:
            continue
        version, table_id = head.consumed.upstreams[name], head.consumed.ids.get(name)
        if mine is None or table_id != mine.table_id:
            if name.startswith(_ONLY_COPY) and name != "bronze.landings":
                what = "is gone" if mine is None else "is of another table"
                return Finding(
                    name,
                    "_delta_log",
                    f"{what}: {reader} was made from version {version} of table {table_id}",
                    "all rows",
                )
        elif version > mine.data_version:
            what = (
                f"ends early: the rows are those of version {mine.data_version}, and {reader} was made from version"
                f" {version}"
            )
            return Finding(name, "_delta_log", what, f"the rows of {version - mine.data_version} versions")
    return None


def refuse_short(store: DeltaStore, name: str, readers: Iterable[str]) -> None:
    """Raise `DamagedTableError` where a table is behind what its readers have recorded of it."""
    if found := short(store, name, readers):
        raise DamagedTableError([found])


def check(store: DeltaStore, name: str, readers: Iterable[str] = (), *, full: bool = False) -> Checked:
    """Look at a table: its log, what its readers have recorded of it, every data file with its size; with `full` also
    their content, and the files of sums.
    """
    checked = Checked(name)
    proof = store.proof(name)
    if proof is None:
        checked.unproven = None
    else:
        checked.findings += proof.log_findings()
        cure = "remove that file, and the job `maintenance` gives what it spoke of a proof again"
        what = "does not hold what was written, so it proves nothing"
        checked.notes += [Finding(name, file, what, "no rows", cure) for file in proof.broken_sums()]
    if checked.findings:
        return checked
    try:
        if found := short(store, name, readers):
            checked.findings.append(found)
        if proof and store.exists(name):
            files = store.files(name)
            checked.files, checked.unproven = len(files), len(proof.unproven(files))
            checked.findings += proof.file_findings(files, content=full)
    except DamagedTableError as error:
        checked.findings += error.findings
    return checked


def set_aside(store: DeltaStore, name: str) -> Path | None:
    """Move a damaged table out of the way, so that it is made anew; returns where it lies then, None where it is not
    there.
    """
    folder = Path(store.uri(name))
    if not folder.exists():
        return None
    aside = folder.parents[1] / ASIDE / f"{name}-{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
    aside.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(folder, aside)
    store.forget(name)
    return aside
