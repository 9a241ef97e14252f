"""The lakehouse as settings say it: the Delta store and the engine that computes for it.

Belongs here: choosing the store that goes with the engine. Does not belong here: what the tables mean, Dagster
(`lakehouse.py` makes a resource of it): commands that run nothing do without.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, Field, PrivateAttr

from lakehouse_assets.core.declarations.registry import SOURCES, pulled_sources
from lakehouse_assets.core.delta.holds import Holds
from lakehouse_assets.core.delta.staging import Lakehouse
from lakehouse_assets.core.delta.store import DeltaStore
from lakehouse_assets.core.sources.landing import LandingZone
from lakehouse_assets.orchestration.first_day import first_day
from lakehouse_assets.orchestration.resources.spark import SparkEngine
from lakehouse_assets.orchestration.resources.spark_endpoint import refuse_url
from lakehouse_assets.paths import plain
from lakehouse_assets.private import open_home
from lakehouse_assets.settings import CATALOG, DatabaseSettings, Settings, refuse_strange_databases

if TYPE_CHECKING:
    from lakehouse_assets.core.sources.database import SourceDatabase


class LakehouseAccess(BaseModel):
    """Where the tables, the staged slices and the landing zone lie, and what computes. Holds no secret."""

    engine: str
    spark_jars: str = ""
    spark_packages_mirror: str = ""
    spark_memory: str = "2g"
    spark_commits: str = "settings"
    tables_folder: str
    """Their root: a path, a URI, or the address of a catalogue."""
    staging: str
    landing: str
    timezone: str
    partitions_start: str
    home: str
    settle_seconds: float = 0.0
    follow_links: bool = False
    checksum: bool = False
    quarantine_days: int = 0
    readers: dict[str, list[str]] = Field(default_factory=dict)
    """Table → the tables that are computed from it."""
    _tables: Any = PrivateAttr(default=None)

    @property
    def written(self) -> list[Path]:
        """The local folders into which a step writes."""
        places = (self.home, self.tables_folder, self.staging, tempfile.gettempdir())
        return [Path(place) for place in places if "://" not in place]

    @classmethod
    def of(cls, settings: Settings, readers: Mapping[str, Sequence[str]] | None = None) -> Self:
        refuse_url(settings.engine)
        _databases()  # a setting that is wrong is reported now, and not in the middle of a run
        return cls(
            engine=settings.engine,
            spark_jars=str(settings.spark_jars or ""),
            spark_packages_mirror=settings.spark_packages_mirror or "",
            spark_memory=settings.spark_memory,
            spark_commits=settings.spark_commits,
            tables_folder=settings.tables_root,
            staging=settings.staging_root,
            landing=str(settings.landing),
            timezone=settings.timezone,
            partitions_start=first_day(settings).isoformat(),
            home=str(settings.home),
            settle_seconds=settings.drop_settle_seconds,
            follow_links=settings.follow_links,
            checksum=settings.checksum,
            quarantine_days=settings.quarantine_days,
            readers={table: list(of) for table, of in (readers or {}).items()},
        )

    @property
    def tables(self) -> Lakehouse:
        """The tables, by their store and the engine; neither is touched before it is needed."""
        if self._tables is None:
            open_home(Path(self.home))
            engine = SparkEngine(
                engine=self.engine,
                jars=self.spark_jars,
                mirror=self.spark_packages_mirror,
                memory=self.spark_memory,
                log=f"{self.home}/logs/spark.log",
            )
            self._tables = Lakehouse(self._store(engine), lambda: engine.session, self.staging, self.readers)
        return self._tables

    def holding(self, run: str = "") -> AbstractContextManager[None]:
        """Hold all versions of all tables from now on against vacuum; run: for which run, empty for a command."""
        return nullcontext() if "://" in self.tables_folder else Holds(Path(self.tables_folder)).placed(run)

    @property
    def local_staging(self) -> Path:
        """A folder of this machine for what this process alone writes and reads: the staging folder, unless that lies
        elsewhere.
        """
        return plain(self.home) / "staging" if "://" in self.staging else Path(self.staging)

    def _store(self, engine: SparkEngine) -> DeltaStore:
        """Sail's own Delta writer loses data without a word, so delta-rs commits what it computed; Apache Spark commits
        by itself.
        """
        if self.engine == "embedded":
            from lakehouse_assets.core.delta.rs import DeltaRsStore

            return DeltaRsStore(self.tables_folder, str(self.local_staging / "changes"))
        from lakehouse_assets.core.delta.spark import DeltaSparkStore, SharedDeltaSparkStore
        from lakehouse_assets.core.delta.spark_named import NamedDeltaOptionsStore, NamedDeltaSparkStore
        from lakehouse_assets.core.delta.spark_options import DeltaOptionsStore

        by_options = self.spark_commits == "options"
        if self.tables_folder.startswith(CATALOG):
            kind = NamedDeltaOptionsStore if by_options else NamedDeltaSparkStore
        elif by_options:
            kind = DeltaOptionsStore
        else:
            shared = self.engine == "local" and "://" not in self.tables_folder
            kind = SharedDeltaSparkStore if shared else DeltaSparkStore
        return kind(self.tables_folder.removeprefix(CATALOG), f"{self.staging}/changes", lambda: engine.session)

    @property
    def databases(self) -> dict[str, SourceDatabase]:
        """Source → the database from which it is pulled, of those that have one. Its address is a secret, and read
        here alone.
        """
        return _databases()

    @property
    def zone(self) -> LandingZone:
        return LandingZone(
            Path(self.landing),
            self.timezone,
            date.fromisoformat(self.partitions_start),
            Path(self.home) / "cache" / "landing.json",
            self.settle_seconds,
            self.follow_links,
            self.checksum,
        )


def _databases() -> dict[str, SourceDatabase]:
    """Raises `LakehouseError` for a setting that is none, or no value of its kind."""
    sources = pulled_sources()
    refuse_strange_databases(SOURCES, [source.name for source in sources])
    found = {}
    for source in sources:
        said = DatabaseSettings.of(source.name)
        if said.db and (url := said.db.get_secret_value()):
            from lakehouse_assets.core.sources.database import SourceDatabase

            overlap = timedelta(seconds=said.db_overlap_seconds)
            found[source.name] = SourceDatabase(source, url, said.db_table or source.name, overlap, said.db_may_lose)
    return found
