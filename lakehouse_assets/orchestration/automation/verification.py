"""Proves the Snowflake tables equal to what was handed off, and fixes those that differ: what `lakehouse verify` does.

Belongs here: which remedy goes with which difference. Does not belong here: comparing (`core/handoff/verify.py`),
printing.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from snowflake.connector.errors import ProgrammingError

from lakehouse_assets.core.delta.findings import DamagedTableError
from lakehouse_assets.core.handoff import Handoff, HandoffResult, VerifyResult
from lakehouse_assets.core.handoff.catalog import ReplacedTableError
from lakehouse_assets.core.handoff.trouble import MISSING
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.orchestration.graph import served
from lakehouse_assets.orchestration.resources.handoff_access import HandoffAccess


@dataclass(frozen=True)
class Step:
    """Something found of a Snowflake table, or done to it. table: its name in lower case. wrong: whether it is not as
    it should be, and no step that follows fixes it.
    """

    table: str
    wrong: bool


@dataclass(frozen=True)
class Altered(Step):
    """Somebody else has changed the table or view. why: what they did."""

    why: str


@dataclass(frozen=True)
class Replaced(Step):
    """Something that is no table has its name. why: what it is, and what to do."""

    why: str


@dataclass(frozen=True)
class Damaged(Step):
    """Its Delta table is damaged: nothing is compared with it, and nothing is repaired from it. why: what is wrong."""

    why: str


@dataclass(frozen=True)
class Compared(Step):
    """It was looked at. result: what was found; its version is -1 where the table was never handed off."""

    result: VerifyResult


@dataclass(frozen=True)
class Repaired(Step):
    """It was handed off again, the differing slices or all of it, and compared again. sent: what travelled."""

    sent: HandoffResult
    whole: bool


def verify_tables(
    handoff: HandoffAccess, tables: Mapping[str, Collection[str] | None], *, repair: bool
) -> Iterator[Step]:
    """Compare tables, one after the other; each step is reported before the next is taken. Of the other tables only
    what somebody else has done to them is looked at.

    tables: Snowflake table in lower case → the slices to compare, None for all. repair: whether what differs is fixed.
    Raises `LakehouseError` where nothing has been handed off yet.
    """
    with handoff.open() as opened:
        state = handoff.state(opened)
        if state is None:
            raise LakehouseError("Nothing has been handed off to this account yet; run `lakehouse run` first.")
        altered = handoff.altered(opened, state)
        if repair and altered:
            handoff.ready(opened)
        for name in sorted(altered.keys() - tables.keys()):
            yield Altered(name, not repair, altered[name])
        for name in sorted(tables):
            if name in altered:
                yield Altered(name, not repair, altered[name])
            yield from _verify_table(handoff, opened, name, tables[name], name in altered, repair)


def _verify_table(
    handoff: HandoffAccess, opened: Handoff, name: str, slices: Collection[str] | None, altered: bool, repair: bool
) -> Iterator[Step]:
    contract, spark = served()[name], handoff.lakehouse.tables.spark
    try:
        result = opened.verify(spark, contract, slices=slices)
        if result.version < 0 and repair and altered:
            sent = handoff.hand_off_whole(opened, contract)
            yield Repaired(name, not opened.verify(spark, contract).equal, sent, whole=True)
            return
    except ProgrammingError as error:
        if not altered or error.errno not in MISSING:
            raise
        return
    except ReplacedTableError as error:
        yield Replaced(name, True, str(error))
        return
    except DamagedTableError as error:
        yield Damaged(name, True, str(error))
        return
    handed_off = result.version >= 0
    yield Compared(name, not handed_off or not (result.equal or repair), result)
    if handed_off and repair and not result.equal:
        sent = opened.repair(spark, contract, slices)
        yield Repaired(name, not opened.verify(spark, contract, slices=slices).equal, sent, whole=False)
