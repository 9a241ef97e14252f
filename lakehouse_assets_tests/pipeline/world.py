"""A lakehouse of its own for a test: a landing zone, tables, a Dagster instance and a database of the account that all
worlds share.

Belongs here: dropping files, running, and looking at every table from outside. Does not belong here: what the tables
must hold (`oracle/`).
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pyarrow as pa
from deltalake import DeltaTable

from lakehouse_assets.core.contracts import CONTRACTS, Contract
from lakehouse_assets.core.declarations.registry import SOURCES
from lakehouse_assets.core.delta.staging import JOURNAL
from lakehouse_assets.core.sources import ingest
from lakehouse_assets.definitions import build_definitions, graph, resources
from lakehouse_assets.orchestration.automation.runner import Runner
from lakehouse_assets.orchestration.graph import served
from lakehouse_assets.orchestration.instance.local import ensure_instance, environment
from lakehouse_assets.settings import Settings
from lakehouse_assets_tests.oracle.oracle import KEYS, Oracle

ROOT = Path(__file__).parents[2]
PROVENANCE = ("path", "content_hash", "row_number")
LAYERS = ("bronze", "silver", "gold")
BRONZE = [*(source.bronze for source in SOURCES.values()), JOURNAL]
"""What takes drops in: the bronze tables and the journal."""

State = dict[str, pl.DataFrame]


class World:
    """One application in a folder. `shared` is the home whose embedded account serves all worlds; each has a database
    of its own there.
    """

    def __init__(self, root: Path, shared: Path, database: str, landing: Path | None = None):
        self.root = root
        self.landing = landing or root / "landing"
        if landing is None:
            for source in SOURCES:
                (self.landing / source).mkdir(parents=True)
        self.environment = {
            "LAKEHOUSE_HOME": str(shared),
            "LAKEHOUSE_LANDING": str(self.landing),
            "LAKEHOUSE_TABLES": str(root / "tables"),
            "LAKEHOUSE_STAGING": str(root / "staging"),
            "LAKEHOUSE_DATABASE": database,
            # Else partitions would begin with the drops that lie there when the world is made.
            "LAKEHOUSE_PARTITIONS_START": "2009-11-01",
        }
        fields = {name.removeprefix("LAKEHOUSE_").lower(): value for name, value in self.environment.items()}
        self.settings = Settings(_env_file=None, **fields)  # type: ignore[call-arg]
        self.load()
        folder = ensure_instance(root / "instance")
        os.environ.update(environment(folder))
        self.instance = dg.DagsterInstance.from_config(str(folder))

    def load(self) -> None:
        """Build the definitions anew, as a new process would, so that changed contracts take effect."""
        self.resources = resources(self.settings)
        self.definitions = build_definitions(self.settings, **self.resources)
        self.graph = graph(self.settings)
        self.lakehouse = self.resources["lakehouse"].tables

    def close(self) -> None:
        self.instance.dispose()

    # -- what lands --------------------------------------------------------------------------------------------------

    def drop(self, path: str, content: bytes | str) -> Path:
        """Lay a file into the landing zone."""
        file = self.landing / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return file

    def take(self, landing: Path, paths: Iterable[str] | None = None) -> None:
        """Let drops of another landing zone land here; default all of them."""
        for path in drops_of(landing) if paths is None else paths:
            self.drop(path, (landing / path).read_bytes())

    def withdraw(self, path: str) -> None:
        ingest.withdraw(self.lakehouse, path)

    def land(self, path: str) -> None:
        ingest.land_again(self.lakehouse, path)

    # -- running -----------------------------------------------------------------------------------------------------

    def runner(self, start: date | None = None, end: date | None = None, select: Sequence[str] | None = None) -> Runner:
        return Runner(
            instance=self.instance,
            definitions=self.definitions,
            graph=self.graph,
            lakehouse=self.resources["lakehouse"],
            handoff=self.resources["handoff"],
            start=start,
            end=end,
            select=[s.split(".") for s in select] if select else None,
        )

    def run(
        self,
        start: date | None = None,
        end: date | None = None,
        select: Sequence[str] | None = None,
        force: Collection[str] = (),
    ) -> Runner:
        """What `lakehouse run` does, in this process. select: asset names as `layer.table`."""
        runner = self.runner(start, end, select)
        runner.run(force=force)
        return runner

    def command(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """The `lakehouse` command on this world, in a process of its own. more: further environment variables."""
        return subprocess.run(
            self.command_line(*arguments),
            env=self.process_environment(**more),
            cwd=self.root,
            text=True,
            capture_output=True,
        )

    def command_line(self, *arguments: str) -> list[str]:
        return [sys.executable, "-c", "from lakehouse_assets.cli import main; main()", *arguments]

    def process_environment(self, **more: str) -> dict[str, str]:
        return {**outside(), **self.environment, "PYTHONPATH": str(ROOT), **more}

    # -- looking -----------------------------------------------------------------------------------------------------

    def delta(self, name: str) -> pa.Table:
        """A Delta table as Arrow, read by delta-rs itself."""
        return pa.table(DeltaTable(self._uri(name)).to_pyarrow_table())

    def versions(self) -> dict[str, int]:
        """The version of every Delta table that exists."""
        return {
            name: DeltaTable(self._uri(name)).version()
            for name in CONTRACTS
            if DeltaTable.is_deltatable(self._uri(name))
        }

    def _uri(self, name: str) -> str:
        return str(self.root / "tables" / name.replace(".", "/"))

    def cursor_do(self, statement: str) -> list[tuple]:
        """One statement in the account, through the connector."""
        with self.resources["snowflake"].get_connection() as connection, connection.cursor() as cursor:
            cursor.execute(statement.replace("{db}", self.settings.database))
            return cursor.fetchall()

    def snowflake(self) -> dict[str, pa.Table]:
        """Every served table as the connector gives it, in the contract's types, by the name of its gold table."""
        found = {}
        with self.resources["snowflake"].get_connection() as connection, connection.cursor() as cursor:
            for contract in served().values():
                columns = ", ".join(c.upper() for c in contract.names)
                cursor.execute(f"SELECT {columns} FROM {self.settings.database}.ANALYTICS.{contract.table.upper()}")
                batches = cursor.fetch_arrow_batches(force_microsecond_precision=True) if cursor.rowcount else ()
                arrived = [batch.rename_columns(list(contract.names)).cast(_plain(contract)) for batch in batches]
                found[contract.name] = pa.concat_tables([_plain(contract).empty_table(), *arrived])
        return found

    def state(self, layers: Collection[str] = ("silver", "gold", "snowflake")) -> State:
        """Every table as a bag: Delta tables by their names, Snowflake tables as `snowflake.<table>`."""
        state = {name: bag(self.delta(name)) for name in CONTRACTS if name.split(".")[0] in layers}
        if "snowflake" in layers:
            state |= {f"snowflake.{name.split('.')[1]}": bag(table) for name, table in self.snowflake().items()}
        return state

    def materialized(self, name: str) -> set[str]:
        """The partitions of an asset that are green."""
        return set(self.instance.get_materialized_partitions(dg.AssetKey(name.split("."))))

    def evaluations(self) -> list[dg.AssetCheckEvaluation]:
        """Every check evaluation that is recorded, those of single partitions too, in order."""
        kind = dg.DagsterEventType.ASSET_CHECK_EVALUATION
        runs = reversed(self.instance.get_runs())
        events = [entry.dagster_event for run in runs for entry in self.instance.all_logs(run.run_id, of_type=kind)]
        return [event.asset_check_evaluation_data for event in events if event]

    def quarantined(self) -> dict[tuple[str, int], list[str]]:
        """(path, row number) → the rules broken, over all sources."""
        rows = [r for source in SOURCES.values() for r in self.delta(source.quarantine.name).to_pylist()]
        found = {(r["path"], r["row_number"]): r["rules"] for r in rows}
        assert len(found) == len(rows)
        return found

    def accounts(self) -> dict[tuple[date, str], dict[str, int]]:
        """(batch date, source) → landed, published, quarantined and duplicates over the drops that count."""
        found: dict[tuple[date, str], dict[str, int]] = {}
        for row in self.delta("silver.intake").to_pylist():
            counts = found.setdefault(
                (row["batch_date"], row["source"]),
                dict.fromkeys(("landed", "published", "quarantined", "duplicates"), 0),
            )
            for name in counts:
                counts[name] += row[name]
        return found


def outside() -> dict[str, str]:
    """The environment for a process of its own: nothing of the application's, and nothing that a Spark session left in
    this one.
    """
    return {k: v for k, v in os.environ.items() if not k.startswith(("LAKEHOUSE_", "DAGSTER_", "PYTEST_", "SPARK_"))}


def drops_of(landing: Path) -> list[str]:
    """The paths of all files below the source folders of a landing zone, sorted."""
    return sorted(f.relative_to(landing).as_posix() for s in SOURCES for f in (landing / s).rglob("*") if f.is_file())


def day_of(path: str) -> date:
    """The date in the name of a drop."""
    return date.fromisoformat(
        next(p for p in path.rsplit("/", 1)[-1].replace(".", "_").split("_") if len(p) == 10 and p[4] == "-")
    )


def bag(table: pa.Table) -> pl.DataFrame:
    """The rows of a table in an order of their own, columns by name, so that equal bags are equal frames."""
    frame = pl.DataFrame(table)
    listed = [n for n, t in frame.schema.items() if isinstance(t, pl.List)]
    return frame.with_columns(pl.col(n).list.join("|") for n in listed).select(sorted(frame.columns)).sort(pl.all())


def differences(expected: State, actual: State, limit: int = 3) -> str:
    """What differs between two states, for people; empty where nothing does."""
    said = (
        [f"tables only in one: {sorted(expected.keys() ^ actual.keys())}"] if expected.keys() != actual.keys() else []
    )
    for name in sorted(expected.keys() & actual.keys()):
        one, other = expected[name], actual[name]
        if one.equals(other):
            continue
        said.append(f"{name}: {one.height} rows expected, {other.height} found")
        for words, here, there in (("missing", one, other), ("too many", other, one)):
            left, right = (f.group_by(f.columns).len("times") for f in (here, there))
            only = left.join(right, on=left.columns, how="anti", nulls_equal=True)
            said += [f"  {words}: {row}" for row in only.head(limit).iter_rows(named=True)]
    return "\n".join(said)


def against_oracle(
    world: World,
    landing: Path | None = None,
    *,
    exclude: Collection[tuple[str, int]] = frozenset(),
    live: Mapping[str, Path | None] | None = None,
    provenance: bool = True,
) -> str:
    """What differs between the world and the oracle on every silver, gold and Snowflake table; empty where nothing
    does.

    provenance: whether drop and row number count; they do not where the oracle reads the clean twin of dirty drops.
    """
    said = []
    with Oracle(landing or world.landing, exclude=set(exclude), live=live) as oracle:
        actual = {name: world.delta(name) for name in KEYS}
        checked = [(name, table, "Delta") for name, table in actual.items()]
        checked += [(name, table, "Snowflake") for name, table in world.snowflake().items()]
        for name, table, where in checked:
            if provenance:
                found = oracle.difference(name, table)
            else:
                expected = oracle.table(name)
                names = [c for c in expected.column_names if c not in PROVENANCE]
                types = pa.schema([table.schema.field(c).with_nullable(True) for c in names])
                found = differences(
                    {name: bag(expected.select(names).cast(types))}, {name: bag(table.select(names).cast(types))}
                )
            if found:
                said.append(f"{where}: {found}")
    return "\n".join(said)


def _plain(contract: Contract) -> pa.Schema:
    return pa.schema([pa.field(c.name, c.type.arrow) for c in contract.columns])


def order_csv(
    lines: Iterable[Sequence[Any]],
    header: str = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country",
) -> str:
    """An order drop from the values of its lines, none of which needs quotes."""
    return "".join(f"{line}\n" for line in (header, *(",".join(map(str, values)) for values in lines)))


def line(
    invoice: int | str,
    day: str,
    quantity: Any = 6,
    price: Any = "2.550",
    code: str = "85123A",
    customer: Any = "17850.0",
) -> list[Any]:
    """The values of one order line. day: YYYY-MM-DD."""
    return [invoice, code, f"THING {code}", quantity, f"{day} 08:26:00", price, customer, "United Kingdom"]


def rates_csv(rates: Mapping[str, str]) -> str:
    """An ECB drop of GBP rates by date."""
    return "Date,USD,GBP\n" + "".join(f"{day},1.1,{rate}\n" for day, rate in rates.items())


def in_groups(landing: Path, rng: random.Random, groups: int) -> list[list[str]]:
    """The drops of a landing zone by whole days, in as many groups of days as asked for, in random order."""
    by_day: dict[date, list[str]] = {}
    for path in drops_of(landing):
        by_day.setdefault(day_of(path), []).append(path)
    days = sorted(by_day)
    rng.shuffle(days)
    return [[path for day in days[start::groups] for path in by_day[day]] for start in range(groups)]
