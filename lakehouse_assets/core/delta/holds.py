"""What runs and commands read, held against vacuum: every version of every table from the one that was current when
they began.

What belongs here: placing, finding and clearing up holds. What does not: deleting files, which is the store's `vacuum`.

A hold is a file below `<tables>/_holds/`, named after its process, with the version that each table had. It is placed
before anything is looked up. A vacuum loads the log of a table first and looks for holds then: whoever placed one later
looks up a version that is no older than that log, and nothing of it goes.
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lakehouse_assets.processes import in_use, scratch_name

FOLDER = "_holds"
FOREIGN_SECONDS = 24 * 3600.0
"""For so long a hold of another machine counts, of whose processes nothing is known."""


class Holds:
    """The holds on the tables below a folder of this machine."""

    def __init__(self, tables: Path):
        self.tables = tables
        self.folder = tables / FOLDER

    @contextmanager
    def placed(self, run: str = "") -> Iterator[None]:
        """Hold all tables meanwhile. run: for which run, so that this one can leave its own hold out of account. A
        command, which gives none, makes no folder where there are no tables yet, and holds nothing where it may only
        read.
        """
        versions = {
            f"{log.parent.parent.name}.{log.parent.name}": _newest(log) for log in self.tables.glob("*/*/_delta_log")
        }
        if not run and not (versions and os.access(self.tables, os.W_OK)):
            yield
            return
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        hold = self.folder / scratch_name()
        torn = self.folder / f".{hold.name}"
        torn.write_text(json.dumps({"run": run, "versions": versions}))
        torn.replace(hold)
        try:
            yield
        finally:
            hold.unlink(missing_ok=True)

    def oldest(self, table: str, besides: str = "") -> int | None:
        """The oldest version of a table that somebody holds; None where nobody does. Holds of dead processes are
        removed. besides: a run whose own hold does not count.
        """
        held = []
        for hold in sorted(self.folder.glob("*")):
            with suppress(FileNotFoundError):  # released meanwhile
                alive = in_use(hold.name.removeprefix("."))
                if alive is False or (alive is None and time.time() - hold.stat().st_mtime > FOREIGN_SECONDS):
                    hold.unlink()
                elif not hold.name.startswith("."):
                    said = json.loads(hold.read_text())
                    if not besides or said["run"] != besides:
                        held.append(said["versions"].get(table, 0))  # one that came later is held from its beginning
        return min(held, default=None)


def _newest(log: Path) -> int:
    return max((int(e.name[:20]) for e in log.iterdir() if e.name[:20].isdigit() and e.suffix == ".json"), default=0)
