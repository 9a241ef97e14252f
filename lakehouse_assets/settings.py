"""The one place that reads the environment: paths, engine, account. Secrets are named here and read where they are
used.

Does not belong here: anything that opens a table, a session or a connection.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from datetime import date
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dotenv import dotenv_values
from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.paths import plain, plain_uri

PROJECT = Path(__file__).resolve().parent.parent
"""The checkout; of an installed package, the folder of packages, where none of a checkout's files lie."""
_SAMPLE = Path("data", "landing")
STORES = ("s3", "s3a", "gs", "az", "abfs", "abfss", "adl", "wasb", "wasbs", "lakefs", "dbfs", "hdfs", "file")
"""Schemes of the URIs below which the embedded engine, or what comes with it, can have tables and staged files."""
CATALOG = "catalog://"
"""What an address of tables begins with that a catalogue names, as `catalog://main`."""


def _is_web(address: str) -> bool:
    try:
        parts = urlsplit(address)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _named(value: str, info: ValidationInfo) -> str:
    """An address of tables in a catalogue."""
    if info.field_name != "tables" or not str(info.data.get("engine")).startswith("sc://"):
        raise ValueError("only tables have names in a catalogue, and only with LAKEHOUSE_ENGINE=sc://…; name a folder")
    if not re.fullmatch(r"[A-Za-z_][\w-]*", value.removeprefix(CATALOG)):
        raise ValueError("it names no catalogue; write one as catalog://main")
    return value


_ENV_FILE = ".env"


class _Settings(BaseSettings):
    """Settings from the environment or `.env`."""

    model_config = SettingsConfigDict(env_prefix="LAKEHOUSE_", env_file=_ENV_FILE, extra="ignore", frozen=True)

    def __init__(self, **given: Any) -> None:
        """Raises `LakehouseError` where a setting is no value of its kind; the value is named unless it is a secret."""
        try:
            super().__init__(**given)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            name = str(first["loc"][0])
            value = "" if "SecretStr" in str(type(self).model_fields[name].annotation) else f" is {first['input']!r}"
            why = first["msg"].removeprefix("Value error, ")
            raise LakehouseError(
                f"{given.get('_env_prefix', 'LAKEHOUSE_')}{name.upper()}{value}: {why}; fix it in the environment or in"
                f" {_ENV_FILE}."
            ) from None


class Settings(_Settings):
    """Settings of the application, each read from `LAKEHOUSE_<NAME>` or `.env`, each with a default that works on a
    laptop. Those of the databases that sources are pulled from are apart (`DatabaseSettings`).
    """

    if TYPE_CHECKING:  # pyright takes every field for an argument that must be given

        def __init__(self, **given: Any) -> None: ...

    home: Path = Field(
        Path(".lakehouse"),
        description="where state lives: Dagster's storage, tables, staged slices, the embedded account",
    )
    landing: Path = Field(
        default_factory=lambda: PROJECT / _SAMPLE if (PROJECT / _SAMPLE).is_dir() else _SAMPLE,
        description="the landing zone, with one folder a source",
    )
    areas: str | None = Field(
        None, description="the packages of the areas, divided by blanks; default: the example's domains"
    )
    # before the places, which are judged by it
    engine: str = Field("embedded", description="embedded, local, or a Spark Connect URL sc://…")
    tables: str | None = Field(
        None,
        description=(
            "root of the Delta tables: a path or URI, or for a remote engine catalog://NAME, whose tables are"
            " NAME.layer.table; default HOME/tables"
        ),
    )
    staging: str | None = Field(None, description="where slices are staged: a path or URI; default HOME/staging")
    spark_jars: Path | None = Field(
        None, description="local engine: a folder with the Delta jars; default: Maven, cached by Ivy"
    )
    spark_packages_mirror: str | None = Field(
        None, description="local engine: URL of a Maven repository in place of Maven Central"
    )
    spark_memory: str = Field("2g", description="local engine: memory of its JVM")
    spark_conf: SecretStr | None = Field(
        None,
        description=(
            "local and remote engine: settings of Spark over ours, as `spark.sql.shuffle.partitions=64"
            " spark.local.dir=/fast`"
        ),
    )
    spark_commits: Literal["settings", "options"] = Field(
        "settings",
        description=(
            "local and remote engine: how a commit carries what it is computed from: by settings of the session, or, as"
            " on Databricks serverless, which has none, by options of each write"
        ),
    )
    spark_token: SecretStr | None = Field(None, description="remote engine: the token of the Spark Connect endpoint")
    snowflake: Literal["embedded", "account"] = Field(
        "embedded", description="embedded, or account with the usual SNOWFLAKE_* values"
    )
    database: str = Field("LAKEHOUSE", description="Snowflake database")
    analytics_schema: str = Field("ANALYTICS", description="Snowflake schema of the served tables")
    ops_schema: str = Field("OPS", description="Snowflake schema of hand-off state and ledger")
    staging_schema: str = Field("STAGING", description="Snowflake schema of the stage and its views")
    kafka: str | None = Field(
        None, description="addresses of a Kafka broker, as `broker.example.com:9092`; brings in the area `web`"
    )
    kafka_conf: SecretStr | None = Field(
        None,
        description="settings of its client (librdkafka), as `security.protocol=SASL_SSL sasl.mechanisms=PLAIN …`",
    )
    partitions_start: date | None = Field(None, description="the first batch date; default: that of the first drop")
    timezone: str = Field("UTC", description="time zone in which an undated drop gets its batch date")
    follow_links: bool = Field(
        False, description="take in drops that a link in the landing zone names and that lie outside it"
    )
    checksum: bool = Field(
        False, description="hash every drop at every look, where neither sizes nor times of files can be trusted"
    )
    drop_settle_seconds: float = Field(
        0.0, ge=0, le=86_400, description="a drop younger than this is treated as incomplete; 5 for Dagster's servers"
    )
    retry_seconds: float = Field(
        60.0,
        ge=0,
        le=86_400,
        description="how long the landing sensor waits after a failed run; 5 and 30 times that after several",
    )
    freshness_hours: int = Field(
        36,
        ge=1,
        le=1_000_000,
        description="a served table that was not materialised for so long is shown and reported as late",
    )
    alert_webhook: SecretStr | None = Field(
        None, description="where alerts are posted as JSON; without it they go to the log of the sensor `watch`"
    )
    alert_services: SecretStr | None = Field(
        None,
        description="where Apprise sends alerts (Slack, Teams, mail, PagerDuty, …): its addresses, divided by blanks",
    )
    code_url: str | None = Field(
        None,
        description=(
            "where this repository can be browsed at a branch or commit; assets then link there, else to the files of"
            " this checkout"
        ),
    )
    keep_email: bool = Field(False, description="keep e-mail addresses in clear beside their keyed hash")
    email_key: SecretStr | None = Field(
        None, description="key of the e-mail hash; has a default on the embedded account only"
    )
    handoff_file_mb: int = Field(128, ge=1, description="target size of a hand-off file, MB")
    stage_retention_hours: int = Field(
        24, ge=0, le=1_000_000, description="how long files of done hand-offs stay on the stage"
    )
    quarantine_days: int = Field(
        0,
        ge=0,
        le=36_500,
        description="how many days rejected rows stay in quarantine, counted from their batch date; 0: for ever",
    )
    account_idle_seconds: int = Field(
        1800, ge=1, le=100_000_000, description="after how long without a request the embedded account stops"
    )

    @field_validator("timezone", mode="after")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError):
            raise ValueError("there is no time zone of that name; write one as Europe/Berlin") from None
        return value

    @field_validator("home", "landing", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        # As a variable of a script that is not set leaves it: it would be the folder in which one happens to be.
        if not str(value).strip():
            raise ValueError("it is empty; name a folder, or leave the setting out")
        return value

    @field_validator("home", "landing", mode="after")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().resolve()

    @field_validator("tables", "staging", mode="after")
    @classmethod
    def _place(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is None:
            return None
        if not value.strip():
            raise ValueError("it is empty; name a folder or a URI, or leave the setting out")
        if value.startswith(CATALOG):
            return _named(value, info)
        scheme, _, rest = value.partition(":")
        if rest.startswith("//") or scheme in STORES:
            # Apache Spark writes wherever it has a driver.
            known = scheme in STORES or info.data.get("engine") != "embedded"
            if not known or not rest.startswith("//") or not rest.strip("/"):
                raise ValueError("the engine writes to no such place; name a folder, or a URI such as s3://bucket/path")
            return value
        try:
            folder = Path(value).expanduser().absolute()
            there = next(p for p in (folder, *folder.parents) if p.exists())
        except (OSError, RuntimeError) as error:
            raise ValueError(f"it can be no folder ({error}); name another") from None
        if not there.is_dir():
            raise ValueError(f"{there} is no folder; name one, or a URI")
        return value

    @field_validator("spark_memory", mode="after")
    @classmethod
    def _memory(cls, value: str) -> str:
        if not re.fullmatch(r"[1-9][0-9]*[kmgt]b?", value, re.IGNORECASE):
            raise ValueError("it is no amount of memory; write one as 2g or 1500m")
        return value

    @field_validator("code_url", mode="after")
    @classmethod
    def _browsed(cls, value: str | None) -> str | None:
        if value and not _is_web(value):
            raise ValueError("it is no address of a page; write one that begins with https://")
        return value

    @field_validator("alert_webhook", mode="after")
    @classmethod
    def _posted(cls, value: SecretStr | None) -> SecretStr | None:
        if value and (address := value.get_secret_value()) and not _is_web(address):
            raise ValueError("it is no address to which a message can be posted; write one that begins with https://")
        return value

    @property
    def tables_root(self) -> str:
        return plain_uri(self.tables) if self.tables else str(plain(self.home) / "tables")

    @property
    def staging_root(self) -> str:
        return plain_uri(self.staging) if self.staging else str(plain(self.home) / "staging")


class DatabaseSettings(_Settings):
    """Settings of the database that a source is pulled from, each read from `LAKEHOUSE_<SOURCE>_<NAME>` or `.env`."""

    if TYPE_CHECKING:  # pyright takes every field for an argument that must be given

        def __init__(self, **given: Any) -> None: ...

    db: SecretStr | None = Field(
        None,
        description=(
            "a database from which the source is pulled beside the drops: postgresql://…, mariadb://…, sqlite:///…;"
            " default: none"
        ),
    )
    db_table: str = Field("", description="its table or view: a name, or schema.name; default: the name of the source")
    db_overlap_seconds: float = Field(
        3600.0,
        ge=0,
        le=1e8,
        description="how far behind the watermark rows are read again, for transactions that commit late",
    )
    db_may_lose: float = Field(
        0.5,
        ge=0,
        le=1,
        description="which share of its rows the table may lose between two pulls; above it none is made",
    )

    @classmethod
    def of(cls, source: str) -> DatabaseSettings:
        """Those of a source, as the environment has them now."""
        return cls(_env_prefix=f"LAKEHOUSE_{source.upper()}_")


def is_of_database(variable: str) -> bool:
    """Whether a variable looks like a setting of the database of a source."""
    return bool(_OF_DATABASE.fullmatch(variable))


def refuse_strange_databases(sources: Collection[str], pulled: Collection[str]) -> None:
    """Raise `LakehouseError` where a setting of a database belongs to no source that can be pulled, or is none: else it
    would be passed over, and so would the database. pulled: those of the sources that can be.
    """
    known = {f"LAKEHOUSE_{name.upper()}_{setting}" for name in pulled for setting in _DATABASE_NAMES}
    others = {f"LAKEHOUSE_{name.upper()}" for name in Settings.model_fields}
    for variable in sorted({name.upper() for name in (*os.environ, *dotenv_values(_ENV_FILE))} - known - others):
        if not variable.startswith("LAKEHOUSE_"):
            continue
        if "DB" in variable and (near := get_close_matches(variable, known, 1, 0.9)):
            raise LakehouseError(f"{variable} is no setting; did you mean {near[0]}? Correct it, or take it out.")
        if not (found := _OF_DATABASE.fullmatch(variable)):
            continue
        if found[1].lower() in sources:
            raise LakehouseError(
                f"{variable} is set, but the source {found[1].lower()} does not say how it is pulled; add"
                " pulled=Pulled(…) to its declaration, or take the setting out."
            )
        can = ", ".join(f"LAKEHOUSE_{name.upper()}_DB" for name in pulled) or "none"
        raise LakehouseError(
            f"{variable} names the source {found[1].lower()}, which nobody declares; correct it, or take it out"
            f" (databases can be set by {can})."
        )


_DATABASE_NAMES = [name.upper() for name in DatabaseSettings.model_fields]
_OF_DATABASE = re.compile(rf"LAKEHOUSE_(.+?)_({'|'.join(_DATABASE_NAMES)})")
