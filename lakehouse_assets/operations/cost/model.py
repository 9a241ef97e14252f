"""The model: from a list of statements to the seconds for which a warehouse runs, and its credits.

What belongs here: pure functions of the rows of a log. What does not: reading the log, printing.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lakehouse_assets.embedded_snowflake.history import Row

UNTOLD = ""
"""Stands for the table or run of a statement whose query tag names none."""


@dataclass(frozen=True)
class Assumptions:
    """How the warehouse is set up. The defaults are those of an XS that is suspended after a minute."""

    auto_suspend: float = 60.0
    """Seconds after its last statement at which a warehouse is suspended."""
    least: float = 60.0
    """Seconds that are billed at least each time it is resumed."""
    credits_per_hour: float = 1.0


@dataclass(frozen=True)
class Running:
    """A time in which a warehouse runs without a pause, with the statements that keep it running."""

    started: float
    ended: float
    statements: tuple[Row, ...]


@dataclass(frozen=True)
class Cost:
    """What a list of statements costs. `seconds` are those that are billed, `busy` those in which a statement ran."""

    resumes: int
    seconds: float
    busy: float
    credits: float
    statements: int
    in_warehouse: int
    cached: int
    uploads: int
    bytes_uploaded: int
    by_table: dict[str, float]
    by_run: dict[str, float]


def in_warehouse(row: Row) -> bool:
    """Whether a statement resumes a warehouse, or keeps it running."""
    return row.needs_warehouse and not row.cached


def running(rows: Iterable[Row], auto_suspend: float) -> list[Running]:
    """When the warehouses run: each from the first statement that needs it until nothing has needed it for
    `auto_suspend` seconds.
    """
    of_warehouse: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(filter(in_warehouse, rows), key=lambda row: row.started):
        of_warehouse[row.warehouse].append(row)
    found: list[Running] = []
    for needed in of_warehouse.values():
        together: list[Row] = []
        busy_until = 0.0
        for row in needed:
            if together and row.started > busy_until + auto_suspend:
                found.append(Running(together[0].started, busy_until + auto_suspend, tuple(together)))
                together = []
            busy_until = max(busy_until if together else 0.0, row.started + row.seconds)
            together.append(row)
        found.append(Running(together[0].started, busy_until + auto_suspend, tuple(together)))
    return sorted(found, key=lambda period: period.started)


def cost_of(rows: Sequence[Row], assumptions: Assumptions | None = None) -> Cost:
    """What the statements cost. The credits of a time in which a warehouse ran belong to its statements by how long
    each took.

    With an auto-suspend below `least`, one statement more may make it cheaper: it bridges two resumes.
    """
    assumed = assumptions or Assumptions()
    periods = running(rows, assumed.auto_suspend)
    by_table: dict[str, float] = defaultdict(float)
    by_run: dict[str, float] = defaultdict(float)
    seconds = 0.0
    for period in periods:
        billed = max(period.ended - period.started, assumed.least)
        seconds += billed
        worked = sum(row.seconds for row in period.statements)
        for row in period.statements:
            share = row.seconds / worked if worked else 1 / len(period.statements)
            told = _told(row.tag)
            spent = share * billed / 3600 * assumed.credits_per_hour
            by_table[told.get("table", UNTOLD)] += spent
            by_run[told.get("run", UNTOLD)] += spent
    sent = [row for row in rows if row.kind != "UPLOAD"]
    uploads = [row for row in rows if row.kind == "UPLOAD"]
    return Cost(
        resumes=len(periods),
        seconds=seconds,
        busy=sum(period.ended - period.started for period in running(rows, 0.0)),
        credits=seconds / 3600 * assumed.credits_per_hour,
        statements=len(sent),
        in_warehouse=sum(map(in_warehouse, sent)),
        cached=sum(row.cached for row in sent),
        uploads=len(uploads),
        bytes_uploaded=sum(row.bytes for row in uploads),
        by_table=dict(by_table),
        by_run=dict(by_run),
    )


def _told(tag: str) -> dict[str, str]:
    """What a query tag says; nothing where it is no object in JSON."""
    if not tag.startswith("{"):
        return {}
    try:
        return {str(name): str(value) for name, value in json.loads(tag).items()}
    except (ValueError, AttributeError):
        return {}
