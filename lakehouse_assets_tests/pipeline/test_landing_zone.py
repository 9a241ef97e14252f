"""What lies in a landing zone beside ordinary drops: odd names, empty and half-written files, dates that cannot be."""

import errno
import os
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from lakehouse_assets.core.declarations.registry import SOURCES
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets_tests.pipeline.conftest import NewWorld
from lakehouse_assets_tests.pipeline.world import against_oracle, line, order_csv

ODD_NAMES = [
    "orders_2012-03-01 a b.csv",
    "orders_2012-03-02[1].csv",
    "orders_2012-03-03%20x%.csv",
    "orders_2012-03-04_é漢😀.csv",
    "orders_2012-03-05'q\".csv",
    "orders_2012-03-06\\back.csv",
    "orders_2012-03-07*?.csv",
    "orders_2012-03-08#a&b=c;d.csv",
    "orders_2012-03-09\nline.csv",
    "x=1/orders_2012-03-10.csv",
    "{a,b}/c d/orders_2012-03-11.csv",
    "orders_2012-03-12\\'.csv",
    "orders_2012-03-13 ${user}.csv",
]


@pytest.mark.heavy
def test_drops_of_any_name_are_taken_in_taken_back_and_landed_again(make_world: NewWorld) -> None:
    """A user's file is passed over, read twice or breaks the run because of a sign in its name."""
    world = make_world()
    paths = [f"orders/{name}" for name in ODD_NAMES]
    for number, path in enumerate(paths):
        day = f"2012-03-{number + 1:02}"
        world.drop(path, order_csv([line(500000 + number, day), line("bad", day)]))
    world.run()
    assert world.quarantined() == {(path, 2): ["invoice.str_matches"] for path in paths}
    assert not against_oracle(world, exclude={(path, 2) for path in paths})
    for path in paths:
        world.withdraw(path)
    world.run()
    assert world.delta("silver.order_lines").num_rows == 0
    for path in paths:
        world.land(path)
    world.run()
    assert not against_oracle(world, exclude={(path, 2) for path in paths})


def test_empty_undated_and_partial_files_are_each_treated_by_their_rule(make_world: NewWorld) -> None:
    """A user's half-written file is loaded, an empty one stays pending for ever, or a wrong date vanishes without a
    word.
    """
    world = make_world()
    tomorrow = date.today() + timedelta(days=2)
    world.drop("orders/orders_2012-03-01.csv", order_csv([]))
    world.drop("orders/orders_2012-03-02.csv", "")
    world.drop("orders/orders_2012-03-03.csv", "\n\n")
    world.drop("customers/customers_2012-03-03.jsonl", "")
    world.drop("fx/eurofxref_2012-03-03.csv", "Date,GBP\n")
    world.drop("orders/undated.csv", order_csv([line(500000, "2012-03-01")]))
    future = (
        world.drop(f"orders/orders_{tomorrow}.csv", order_csv([line(500001, "2012-03-01")]))
        .relative_to(world.landing)
        .as_posix()
    )
    world.drop("orders/orders_2001-01-01.csv", order_csv([line(500002, "2012-03-01")]))
    partial = [
        ".hidden_2012-03-01.csv",
        "x_2012-03-01.csv.part",
        "x_2012-03-01.tmp",
        "_x_2012-03-01.csv",
        ".git/x_2012-03-01.csv",
    ]
    for number, name in enumerate([*partial, "_temporary/x_2012-03-01.csv"]):
        world.drop(f"orders/{name}", order_csv([line(500010 + number, "2012-03-01")]))
    not_utf8 = os.fsencode(world.landing) + b"/orders/orders_2012-03-04_\xff.csv"
    Path(os.fsdecode(not_utf8)).write_text(order_csv([line(500020, "2012-03-01")]))

    before, runner = date.today(), world.run()
    refused = runner.found.refused_names
    assert {*refused} == {future, "orders/orders_2001-01-01.csv", "orders/orders_2012-03-04_\\udcff.csv"}
    assert "future" in refused[future]
    assert "before the first partition" in refused["orders/orders_2001-01-01.csv"]
    assert {r["invoice"] for r in world.delta("silver.order_lines").to_pylist()} == {"500000"}
    unreadable = [
        "orders/orders_2012-03-02.csv",
        "orders/orders_2012-03-03.csv",
        "customers/customers_2012-03-03.jsonl",
    ]
    assert world.quarantined() == {(path, 0): ["drop.unreadable"] for path in unreadable}
    assert {r["batch_date"] for r in world.delta("bronze.orders").to_pylist() if r["path"] == "orders/undated.csv"} <= {
        before,
        date.today(),
    }
    rows = {r["path"]: r for r in world.delta("silver.intake").to_pylist()}
    assert (rows["orders/orders_2012-03-01.csv"]["standing"], rows["orders/orders_2012-03-01.csv"]["landed"]) == (
        "live",
        0,
    )
    assert not world.run().runs


def test_what_cannot_be_read_is_told_and_holds_nothing_up(
    make_world: NewWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One bad file on a share stops every load, `lakehouse status` and the alerts."""
    world = make_world()
    orders = world.landing / "orders"
    for number in range(1, 4):
        world.drop(f"orders/orders_2012-03-0{number}.csv", order_csv([line(500000 + number, "2012-03-01")]))
    (orders / "nowhere_2012-03-04.csv").symlink_to(world.root / "gone.csv")
    (orders / "loop_2012-03-05.csv").symlink_to("loop_2012-03-05.csv")
    (orders / "folder_2012-03-06.csv").mkdir()
    os.mkfifo(orders / "pipe_2012-03-07.csv")
    (orders / "link_2012-03-08.csv").symlink_to("folder_2012-03-06.csv")

    # Root may read everything, and nobody can take a file away between two calls at will.
    opened, listed = Path.open, os.scandir

    def refuse(path: Path, *arguments: Any, **more: Any) -> Any:
        if path.name == "orders_2012-03-02.csv":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        if path.name == "orders_2012-03-03.csv":
            path.unlink()
        return opened(path, *arguments, **more)

    def shut(path: Any = ".") -> Any:
        if str(path).endswith("shut"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return listed(path)

    (orders / "shut").mkdir()
    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(os, "scandir", shut)
    drops, told = world.resources["lakehouse"].zone.scan()
    monkeypatch.undo()
    assert [drop.path for drop in drops] == ["orders/orders_2012-03-01.csv"]
    fix, link = "fix that, or remove it.", "fix the link, or remove it."
    assert told == {
        "orders/loop_2012-03-05.csv": (
            f"orders/loop_2012-03-05.csv is a link to {orders}/loop_2012-03-05.csv, which is not there; {link}"
        ),
        "orders/nowhere_2012-03-04.csv": (
            f"orders/nowhere_2012-03-04.csv is a link to {world.root}/gone.csv, which is not there; {link}"
        ),
        "orders/orders_2012-03-02.csv": f"orders/orders_2012-03-02.csv cannot be read (Permission denied); {fix}",
        "orders/pipe_2012-03-07.csv": "orders/pipe_2012-03-07.csv is a pipe, socket or device, and no file; remove it.",
        "orders/shut": f"orders/shut cannot be read (Permission denied); {fix}",
    }
    runner = world.run()
    assert runner.runs == 1
    assert set(runner.found.refused_names) == {
        f"orders/{name}_2012-03-{day}.csv" for name, day in (("loop", "05"), ("nowhere", "04"), ("pipe", "07"))
    }
    ran = world.command("run", "--quiet")
    assert ran.returncode == 1, "rows that were sent and are not taken in must not look like a day without them"
    assert all(told[name] in " ".join(ran.stderr.split()) for name in runner.found.refused_names)


def test_a_landing_zone_that_is_not_there_is_told_in_one_sentence(make_world: NewWorld, tmp_path: Path) -> None:
    """A typing mistake in a path looks like a day without drops."""
    world = make_world(tmp_path / "nowhere")
    with pytest.raises(LakehouseError, match=r"nowhere is not a folder; create it or set LAKEHOUSE_LANDING"):
        world.runner()


def test_an_empty_landing_zone_is_nothing_to_do(make_world: NewWorld) -> None:
    """The first call on a fresh machine fails, or starts a run over nothing."""
    world = make_world()
    assert not world.run().runs
    assert not world.versions()


def test_a_landing_zone_that_is_the_wrong_folder_is_told(make_world: NewWorld) -> None:
    """A path that is one folder too high or too low, or a misspelt source, looks like a day without drops."""
    world = make_world()
    world.drop("order/orders_2012-03-01.csv", "")
    world.drop("_archive/orders_2012-03-01.csv", "")
    (told,) = world.runner().found.refused_names.values()
    folders = ", ".join(f"{source}/" for source in SOURCES)
    assert told.endswith(f"holds order, which no source has; drops lie in its folders {folders}.")
