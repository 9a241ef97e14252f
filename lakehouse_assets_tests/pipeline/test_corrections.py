"""Corrections, re-deliveries, late lines and rates, withdrawals and their undoing: the tables are those of one run over
the final journal.
"""

import json
import random
from datetime import date
from pathlib import Path

import pytest

from lakehouse_assets_tests.pipeline.conftest import NewWorld
from lakehouse_assets_tests.pipeline.world import BRONZE, World, against_oracle, differences, line, order_csv, rates_csv

JOURNAL = tuple(BRONZE)
DAYS = [f"2012-02-{day}" for day in (25, 26, 27, 28)]
"""Of a leap year, in which a day may have no counterpart in another year."""
PATHS = [
    *(f"orders/orders_{day}.csv" for day in DAYS),
    "orders/again/orders_2012-02-28.csv",
    "customers/customers_2012-02-25.jsonl",
    "customers/customers_2012-02-27.jsonl",
    "fx/eurofxref_2012-02-26.csv",
    "fx/eurofxref_2012-02-28.csv",
]


def contents(rng: random.Random) -> dict[str, list[bytes]]:
    """A small pool of contents a source, so that the same one stands under several paths, and the same line in several
    contents.
    """
    lines = [
        line(
            f"{'C' if i % 5 == 4 else ''}{500000 + i // 3}",
            DAYS[i % 4],
            -2 if i % 5 == 4 else i + 1,
            f"{1 + i}.25",
            f"8512{i % 3}A",
            17850 + i % 4,
        )
        for i in range(16)
    ]
    orders = [order_csv(rng.choices(lines, k=9)) for _ in range(4)] + [order_csv([])]
    records = [
        {"customer_id": 17850 + i % 3, "name": f"N{i}", "email": None, "city": "York", "country": "UK", "segment": None}
        | {"updated_at": f"2012-02-{20 + i % 4}T08:00:00Z", "deleted": i % 5 == 4}
        for i in range(9)
    ]
    customers = ["".join(json.dumps(r) + "\n" for r in rng.sample(records, 5)) for _ in range(3)]
    fx = [rates_csv({day: f"0.8{rng.randint(1, 9)}" for day in rng.sample(["2012-02-24", *DAYS], 2)}) for _ in range(3)]
    return {
        "orders": [c.encode() for c in orders],
        "customers": [c.encode() for c in customers],
        "fx": [c.encode() for c in fx],
    }


class Story:
    """Random events, told to any world in the same order; `live` is what stands for each path at the end."""

    def __init__(self, seed: int, chapters: int, folder: Path):
        rng = random.Random(seed)
        pool = contents(rng)
        last: dict[str, bytes] = {}
        withdrawn: set[str] = set()
        self.chapters: list[list[tuple[str, str, bytes]]] = []
        for _ in range(chapters):
            events: list[tuple[str, str, bytes]] = []
            for path in rng.sample(PATHS, 5):
                if path in withdrawn and rng.random() < 0.6:
                    events.append(("land", path, b""))
                    withdrawn.discard(path)
                elif path in last and path not in withdrawn and rng.random() < 0.3:
                    events.append(("withdraw", path, b""))
                    withdrawn.add(path)
                else:
                    content = rng.choice(pool[path.split("/")[0]])
                    if content != last.get(path):
                        withdrawn.discard(path)
                    last[path] = content
                    events.append(("drop", path, content))
            self.chapters.append(events)
        self.live: dict[str, Path | None] = {}
        for number, (path, content) in enumerate(last.items()):
            (folder / str(number)).write_bytes(content)
            self.live[path] = None if path in withdrawn else folder / str(number)

    def tell(self, world: World, select: tuple[str, ...] | None = None) -> None:
        """Let everything happen, with a run after each chapter, of the whole graph or of the selected assets."""
        for events in self.chapters:
            for kind, path, content in events:
                if kind == "drop":
                    world.drop(path, content)
            world.run(select=select)
            for kind, path, _ in events:
                if kind != "drop":
                    getattr(world, kind)(path)
        world.run()


@pytest.mark.parametrize(
    ("seed", "chapters"),
    [
        pytest.param(1, 2, marks=pytest.mark.heavy),
        *(pytest.param(seed, 8, marks=pytest.mark.heavy) for seed in range(2, 6)),
    ],
)
@pytest.mark.timeout(3600)
def test_any_history_of_drops_ends_where_one_run_over_the_journal_ends(
    seed: int, chapters: int, make_world: NewWorld, tmp_path: Path
) -> None:
    """A user loses trust in corrections: a line taken back stays, or one that another drop still supports goes."""
    story = Story(seed, chapters, tmp_path)
    step_by_step, at_once = make_world(), make_world()
    story.tell(step_by_step)
    assert not against_oracle(step_by_step, live=story.live)
    story.tell(at_once, JOURNAL)
    assert not against_oracle(at_once, live=story.live)
    everything = ("bronze", "silver", "gold", "snowflake")
    assert not differences(at_once.state(everything), step_by_step.state(everything))
    assert not step_by_step.run().runs


@pytest.mark.heavy
def test_a_content_that_returns_and_stands_elsewhere_is_followed_through_every_turn(
    make_world: NewWorld, tmp_path: Path
) -> None:
    """A user who corrects a correction back to the first version sees the second one, or loses the lines the first
    shares with another drop.
    """
    world = make_world()
    first, second = (
        order_csv([line(500001, DAYS[0], 1), line(500002, DAYS[0], 2)]),
        order_csv([line(500002, DAYS[0], 2), line(500003, DAYS[1], 3)]),
    )
    world.drop(PATHS[0], first)
    world.drop(PATHS[1], first)
    world.drop(PATHS[3], order_csv([line(500009, "2012-02-28")]))
    world.drop(PATHS[7], rates_csv({DAYS[3]: "0.85"}))
    world.run()
    assert world.accounts()[_day(DAYS[1]), "orders"] == {"landed": 2, "published": 0, "quarantined": 0, "duplicates": 2}
    # The last day of February follows in a run of its own, with a rate for the days before it that had none.
    world.drop(PATHS[8], rates_csv({DAYS[0]: "0.84"}))
    world.drop(PATHS[0], second)
    world.run()
    assert not against_oracle(world)
    assert world.accounts()[_day(DAYS[1]), "orders"] == {"landed": 2, "published": 1, "quarantined": 0, "duplicates": 1}
    world.drop(PATHS[0], first)
    world.withdraw(PATHS[1])
    world.run()
    assert not against_oracle(world, live={PATHS[1]: None})
    assert world.accounts()[_day(DAYS[0]), "orders"] == {"landed": 2, "published": 2, "quarantined": 0, "duplicates": 0}


def _day(text: str) -> date:
    return date.fromisoformat(text)


@pytest.mark.heavy
def test_a_withdrawal_names_the_live_drops_that_still_say_its_lines(make_world: NewWorld) -> None:
    """A user withdraws a drop in the belief that another one holds its lines, or looks into one that no longer does."""
    world = make_world()
    lines = [line(500001, DAYS[0], 1), line(500002, DAYS[0], 2), line(500003, DAYS[0], 3)]
    other_dialect = "Invoice,StockCode,Description,Quantity,InvoiceDate,Price,Customer ID,Country"
    written_otherwise = [[*values[:6], "17850", values[7]] for values in lines[:2]]
    world.drop(PATHS[0], order_csv(lines))
    world.drop(PATHS[1], order_csv(written_otherwise, other_dialect))  # live, and says two of them
    world.drop(PATHS[2], order_csv(lines))  # to be superseded
    world.drop(PATHS[3], order_csv(lines))  # to be withdrawn
    world.drop(PATHS[4], order_csv([lines[2], *(line(500010 + i, DAYS[0], "many") for i in range(9))]))  # refused
    world.run(select=JOURNAL)
    world.drop(PATHS[2], order_csv([lines[0], line(500009, DAYS[0])]))
    world.withdraw(PATHS[3])
    world.run(select=[*JOURNAL, "silver.order_lines"])

    done = world.command("withdraw", PATHS[0])
    assert done.returncode == 0, done.stderr
    named = [said.strip() for said in done.stdout.splitlines()[1:]]
    assert named == [f"2 of its rows also stand in {PATHS[1]}", f"1 of its rows also stand in {PATHS[2]}"]
