"""A contract that promises more reaches both sides by `plan`, `deploy` and `run`; one that promises less is refused
before anything is done.
"""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandera.polars as pa
import pytest
from snowflake.connector.errors import ProgrammingError

from lakehouse_assets.core.contracts import CONTRACTS
from lakehouse_assets.core.contracts.types import Day, Text
from lakehouse_assets.core.handoff.session import Session
from lakehouse_assets.domains.sales.sales import SalesLines
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets_tests.declared import other_contracts
from lakehouse_assets_tests.pipeline.conftest import NewWorld
from lakehouse_assets_tests.pipeline.world import ROOT, State, World, line, order_csv, rates_csv

NAME = "gold.daily_sales"
READER = (
    "SELECT invoice_date, country, gross_sales, net_sales + 0.0000 AS net_sales, orders FROM ANALYTICS.DAILY_SALES"
    " ORDER BY 1, 2"
)
"""What somebody reads who knows nothing of the new column; the sum makes the digits behind the point no matter of the
type.
"""


def edited(folder: Path, *changes: tuple[str, str, str]) -> dict[str, Any]:
    """The environment of a command on a copy of the application in which a text of a file stands in another's place."""
    for name in ("lakehouse_assets",):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for file, before, after in changes:
        text = (folder / file).read_text()
        assert text.count(before) == 1
        (folder / file).write_text(text.replace(before, after))
    return {"PYTHONPATH": str(folder)}


CONTRACT = TRANSFORM = "lakehouse_assets/domains/sales/sales.py"
WIDER = (
    (CONTRACT, "import pandera.polars as pa\n", "from typing import Annotated\nimport pandera.engines.polars_engine as pe\nimport pandera.polars as pa\n"),  # noqa: E501
    (
        CONTRACT,
        'net_sales: Money = pa.Field(description="GBP: gross_sales plus returns")\n    gross_sales_eur',
        'net_sales: Annotated[pe.Decimal, 20, 4] = pa.Field(description="GBP: gross_sales plus returns")\n'
        '    products: Whole = pa.Field(ge=0, description="distinct product codes")\n    gross_sales_eur',
    ),
    (TRANSFORM, '"CAST(_gross + _returns AS DECIMAL(18,3)) AS net_sales",', '"CAST(_gross + _returns AS DECIMAL(20,4)) AS net_sales", "products",'),  # noqa: E501
    (TRANSFORM, 'F.expr(euro(_SALE)).alias("gross_sales_eur"),', 'F.expr(euro(_SALE)).alias("gross_sales_eur"), F.expr("count(DISTINCT product_code) AS products"),'),  # noqa: E501
)  # fmt: skip


def said(command: Callable[..., Any], *arguments: str, exit_code: int = 0, **environment: str) -> str:
    done = command(*arguments, **environment)
    assert done.returncode == exit_code, done.stdout + done.stderr
    return done.stdout


@pytest.mark.heavy
def test_a_gained_column_and_a_wider_number_reach_both_sides_and_readers_go_on(
    make_world: NewWorld, tmp_path: Path
) -> None:
    """A user edits a contract, and readers find an empty table, other rows, or a column that nobody fills."""
    world = make_world()
    for day in ("2012-03-01", "2012-03-02"):
        lines = [line(500000 + int(day[-1]) * 100 + i, day, 1 + i, code=f"2200{i}") for i in range(4)]
        world.drop(f"orders/orders_{day}.csv", order_csv(lines))
    world.drop("fx/fx_2012-03-01.csv", rates_csv({"2012-03-01": "0.8"}))
    world.run()
    new = edited(tmp_path / "edited", *WIDER)
    before = said(world.command, "sql", READER, "--format", "csv")
    assert before.count("\n") == 3

    plan = said(world.command, "plan", **new)
    marked = [text for text in plan.splitlines() if text.startswith("-- ") and not text.startswith("-- safe")]
    assert marked == [
        "-- Delta tables: 1 pending",
        "-- rebuild: gold.daily_sales: widens net_sales decimal(18,3) → decimal(20,4), adds products",
        next(
            text
            for text in marked
            if re.fullmatch(rf"-- Snowflake database {world.settings.database}: \d+ pending", text)
        ),
        (
            f"-- rebuild: {world.settings.database}.ANALYTICS.DAILY_SALES: changes NET_SALES from NUMBER(18,3) to"
            " NUMBER(20,4), adds PRODUCTS"
        ),
    ]
    assert plan.splitlines()[-1].startswith("Nothing is breaking.")
    assert said(world.command, "sql", READER, "--format", "csv") == before

    assert "Deployed 1 change of Delta tables and" in said(world.command, "deploy", **new)
    assert said(world.command, "plan", **new).endswith("Nothing to deploy.\n")
    assert said(world.command, "sql", READER, "--format", "csv") == before
    said(world.command, "run", **new)
    assert "DIFFERS" not in said(world.command, "verify", **new)
    assert said(world.command, "sql", READER, "--format", "csv") == before
    products = said(world.command, "sql", "SELECT SUM(products) AS n FROM ANALYTICS.DAILY_SALES", "--format", "csv")
    assert products == "n\n8\n"
    assert "0 runs in" in said(world.command, "run", **new)


class Fewer(pa.DataFrameModel):
    """Daily sales without most of what they promised."""

    invoice_date: Day = pa.Field()
    country: Text = pa.Field()

    class Config:
        name = NAME
        strict = True
        metadata = {  # noqa: RUF012
            "key": ["invoice_date", "country"],
            "handoff": {"kind": "column", "column": "invoice_date"},
        }


class More(SalesLines):
    """Sales lines with a column more."""

    more: Text = pa.Field(nullable=True)

    class Config(SalesLines.Config):
        pass


def test_what_breaks_on_either_side_is_refused_before_anything_is_done(
    loaded: tuple[World, State],
) -> None:
    """Half of a change is made, or a table of the lakehouse loses a column because Snowflake's readers may."""
    world, _ = loaded
    versions, handoff = world.versions(), world.resources["handoff"]
    # The second is harmless, and first in line.
    with other_contracts(Fewer, More), handoff.open() as opened:
        planned = handoff.plan(opened)
        assert {p.object for p in planned.delta if p.kind == "breaking"} == {NAME}
        assert {p.object for p in planned.snowflake if p.kind == "breaking"} == {
            f"{world.settings.database}.ANALYTICS.DAILY_SALES"
        }
        for allowed in (False, True):
            with pytest.raises(
                LakehouseError, match=r"The contract of gold.daily_sales now drops gross_sales.*move .* away"
            ):
                handoff.deploy(opened, allow_breaking=allowed)
        assert handoff.plan(opened) == planned
    assert world.versions() == versions


@pytest.mark.heavy
def test_a_deployment_before_the_first_run_is_what_the_run_would_have_made(make_world: NewWorld) -> None:
    """Tables that are there and empty are taken for loaded, or for gone."""
    world = make_world()
    world.drop("orders/orders_2012-03-01.csv", order_csv([line(500000, "2012-03-01")]))
    handoff = world.resources["handoff"]
    with handoff.open() as opened:
        assert handoff.deploy(opened).of("safe") > len(CONTRACTS)
        assert handoff.plan(opened).of("safe") == 0
    world.run()
    assert not world.runner().found
    fresh = make_world()
    fresh.take(world.landing)
    fresh.run()
    assert {n: f.rows() for n, f in world.state().items()} == {n: f.rows() for n, f in fresh.state().items()}


def test_a_run_against_deployed_objects_creates_nothing_but_the_view_of_its_hand_off(
    make_world: NewWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loader's role lacks the right, and the first run after a quiet month fails in production."""
    world = make_world()
    world.drop("orders/orders_2012-03-01.csv", order_csv([line(500000, "2012-03-01")]))
    with world.resources["handoff"].open() as opened:
        world.resources["handoff"].deploy(opened)
    execute, sent = Session._execute, list[str]()

    def least_privilege(self: Session, statement: str, *rest: Any) -> Any:
        sent.append(statement)
        own = re.match(r"(CREATE OR REPLACE VIEW|DROP VIEW IF EXISTS) \w+\.STAGING\.HANDOFF_", statement)
        if not own and not re.match(
            r"(SELECT|INSERT|UPDATE|DELETE|BEGIN|COMMIT|ROLLBACK|PUT|LIST|REMOVE)\b", statement
        ):
            raise ProgrammingError(msg=f"Insufficient privileges to do: {statement}", errno=3001)
        return execute(self, statement, *rest)

    monkeypatch.setattr(Session, "_execute", least_privilege)
    world.run()
    world.drop("orders/orders_2012-03-02.csv", order_csv([line(500001, "2012-03-02")]))
    world.run()
    assert not world.runner().found
    assert sum("CREATE OR REPLACE VIEW" in s for s in sent) > 8
