"""What is said of a setting that is none, and that no secret is said with it. Does not belong here: what a setting
does.
"""

import re
from pathlib import Path

import pytest

from lakehouse_assets.cli import context
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.orchestration.resources.lakehouse import LakehouseResource
from lakehouse_assets.private import open_home
from lakehouse_assets.settings import DatabaseSettings, Settings, refuse_strange_databases

CONFIGURATION = Path(__file__).parents[1] / "docs" / "configuration.md"


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        (
            "LAKEHOUSE_SNOWFLAKE",
            "real",
            "LAKEHOUSE_SNOWFLAKE is 'real': Input should be 'embedded' or 'account'; fix it in",
        ),
        ("LAKEHOUSE_PARTITIONS_START", "yesterday", "LAKEHOUSE_PARTITIONS_START is 'yesterday': "),
        ("LAKEHOUSE_FRESHNESS_HOURS", "0", "LAKEHOUSE_FRESHNESS_HOURS is '0': "),
        # What no duration holds is otherwise told by a library, wherever it is used first.
        ("LAKEHOUSE_FRESHNESS_HOURS", "999999999999", "LAKEHOUSE_FRESHNESS_HOURS is '999999999999': "),
        ("LAKEHOUSE_STAGE_RETENTION_HOURS", "999999999999", "LAKEHOUSE_STAGE_RETENTION_HOURS is '999999999999': "),
        ("LAKEHOUSE_DROP_SETTLE_SECONDS", "inf", "LAKEHOUSE_DROP_SETTLE_SECONDS is 'inf': "),
        ("LAKEHOUSE_QUARANTINE_DAYS", "99999999999", "LAKEHOUSE_QUARANTINE_DAYS is '99999999999': "),
        (
            "LAKEHOUSE_HOME",
            "",
            "LAKEHOUSE_HOME is '': it is empty; name a folder, or leave the setting out; fix it in",
        ),
        ("LAKEHOUSE_LANDING", " ", "LAKEHOUSE_LANDING is ' ': it is empty; name a folder"),
        ("LAKEHOUSE_TABLES", "", "LAKEHOUSE_TABLES is '': it is empty; name a folder or a URI"),
        (
            "LAKEHOUSE_TABLES",
            "nonsense://x/y",
            "LAKEHOUSE_TABLES is 'nonsense://x/y': the engine writes to no such place",
        ),
        ("LAKEHOUSE_TABLES", "s3:/bucket/x", "LAKEHOUSE_TABLES is 's3:/bucket/x': the engine writes to no such place"),
        ("LAKEHOUSE_TABLES", "s3:bucket/x", "LAKEHOUSE_TABLES is 's3:bucket/x': the engine writes to no such place"),
        ("LAKEHOUSE_TABLES", "x" * 300, f"LAKEHOUSE_TABLES is '{'x' * 300}': it can be no folder ("),
        ("LAKEHOUSE_TABLES", "~nobody_at_all/x", "LAKEHOUSE_TABLES is '~nobody_at_all/x': it can be no folder ("),
        ("LAKEHOUSE_TABLES", "s3://", "LAKEHOUSE_TABLES is 's3://': the engine writes to no such place"),
        ("LAKEHOUSE_TABLES", "/dev/null/x", "LAKEHOUSE_TABLES is '/dev/null/x': /dev/null is no folder"),
        ("LAKEHOUSE_STAGING", "https://x/y", "LAKEHOUSE_STAGING is 'https://x/y': the engine writes to no such place"),
        ("LAKEHOUSE_TABLES", "catalog://main", "LAKEHOUSE_TABLES is 'catalog://main': only tables have names in a"),
        ("LAKEHOUSE_STAGING", "catalog://main", "LAKEHOUSE_STAGING is 'catalog://main': only tables have names in a"),
        ("LAKEHOUSE_SPARK_COMMITS", "both", "LAKEHOUSE_SPARK_COMMITS is 'both': "),
        ("LAKEHOUSE_SPARK_MEMORY", "lots", "LAKEHOUSE_SPARK_MEMORY is 'lots': it is no amount of memory"),
        ("LAKEHOUSE_CODE_URL", "javascript:alert(1)", "LAKEHOUSE_CODE_URL is 'javascript:alert(1)': it is no address"),
        ("LAKEHOUSE_ALERT_WEBHOOK", "hooks.example.com/x", "LAKEHOUSE_ALERT_WEBHOOK: it is no address to which"),
        ("LAKEHOUSE_ALERT_WEBHOOK", "ftp://example.com", "LAKEHOUSE_ALERT_WEBHOOK: it is no address to which"),
        ("LAKEHOUSE_ALERT_WEBHOOK", "https://example.com:x/", "LAKEHOUSE_ALERT_WEBHOOK: it is no address to which"),
        (
            "LAKEHOUSE_TIMEZONE",
            "Mars",
            "LAKEHOUSE_TIMEZONE is 'Mars': there is no time zone of that name; write one as Europe/Berlin",
        ),
    ],
)
def test_a_wrong_value_is_told_by_the_name_of_its_variable(
    name: str, value: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the user reads what a library calls it, and a link to that library."""
    monkeypatch.setenv(name, value)
    with pytest.raises(LakehouseError) as caught:
        Settings()
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("LAKEHOUSE_CUSTOMERS_DB_OVERLAP_SECONDS", "inf", "LAKEHOUSE_CUSTOMERS_DB_OVERLAP_SECONDS is 'inf': "),
        ("LAKEHOUSE_CUSTOMERS_DB_MAY_LOSE", "2", "LAKEHOUSE_CUSTOMERS_DB_MAY_LOSE is '2': "),
        (
            "LAKEHOUSE_SUPPLIERS_DB",
            "postgresql://crm:hush@host/crm",
            "LAKEHOUSE_SUPPLIERS_DB names the source suppliers, which nobody declares; correct it, or take it out"
            " (databases can be set by LAKEHOUSE_CUSTOMERS_DB).",
        ),
        (
            "LAKEHOUSE_CUSTOMER_DB",
            "postgresql://crm:hush@host/crm",
            "LAKEHOUSE_CUSTOMER_DB is no setting; did you mean LAKEHOUSE_CUSTOMERS_DB? Correct it, or take it out.",
        ),
        ("LAKEHOUSE_CUSTOMERSDB", "sqlite:///x", "did you mean LAKEHOUSE_CUSTOMERS_DB?"),
        ("LAKEHOUSE_CUSTOMERS_DBTABLE", "crm", "did you mean LAKEHOUSE_CUSTOMERS_DB_TABLE?"),
        (
            "LAKEHOUSE_ORDERS_DB_TABLE",
            "orders",
            "the source orders does not say how it is pulled; add pulled=Pulled(…)",
        ),
        ("LAKEHOUSE_CUSTOMERS_DB_TABEL", "crm", "did you mean LAKEHOUSE_CUSTOMERS_DB_TABLE?"),
    ],
)
@pytest.mark.parametrize("where", ["environment", ".env"])
def test_a_setting_of_a_database_that_nothing_would_read_is_told(
    name: str, value: str, told: str, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the rows of a source would be missing, and nobody would say so."""
    monkeypatch.chdir(tmp_path)
    if where == "environment":
        monkeypatch.setenv(name, value)
    else:
        (tmp_path / ".env").write_text(f"{name}={value}\n")
    settings = Settings(home=tmp_path)
    with pytest.raises(LakehouseError) as caught:
        LakehouseResource.of(settings)
    assert told in str(caught.value)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("name", ["LAKEHOUSE_DAGSTER_DB_SERVICE_HOST", "LAKEHOUSE_CUSTOMER_ID", "LAKEHOUSE_DB"])
def test_what_others_call_alike_is_left_alone(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else what a cluster puts into the environment stops every command."""
    monkeypatch.setenv(name, str(tmp_path))
    LakehouseResource.of(Settings(home=tmp_path))


def test_a_source_whose_name_ends_as_a_setting_does_can_be_pulled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would be taken for another source, of a shorter name."""
    monkeypatch.setenv("LAKEHOUSE_CRM_DB_DB", "sqlite:///crm.sqlite")
    refuse_strange_databases(["crm_db", "orders"], ["crm_db"])
    with pytest.raises(LakehouseError, match="names the source crm_db, which nobody declares"):
        refuse_strange_databases(["orders"], [])


def test_every_setting_is_documented_with_its_default() -> None:
    """Else nobody finds it, or relies on a default that is another."""
    rows = dict(re.findall(r"^\| `(LAKEHOUSE_[A-Z<>_]+)` \| (.*?) \|", CONFIGURATION.read_text(), re.MULTILINE))
    fields = {f"LAKEHOUSE_{name.upper()}": field for name, field in Settings.model_fields.items()}
    fields |= {f"LAKEHOUSE_<SOURCE>_{name.upper()}": field for name, field in DatabaseSettings.model_fields.items()}
    assert rows.keys() == fields.keys()
    for name, field in fields.items():
        if name != "LAKEHOUSE_LANDING":  # depends on where it is installed
            default = "" if field.default in (None, "") else f"`{field.default}`"
            assert rows[name].lower() == default.lower(), name


def test_the_value_of_a_secret_is_not_told() -> None:
    """Else it stands in a log."""
    with pytest.raises(LakehouseError) as caught:
        Settings(email_key=["hush"])
    assert str(caught.value).startswith("LAKEHOUSE_EMAIL_KEY: ")
    assert "hush" not in str(caught.value)


def test_a_misspelt_setting_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Else the sample is loaded in place of the landing zone that was meant."""
    monkeypatch.setenv("LAKEHOUSE_LANDNG", "/srv/landing")
    monkeypatch.setenv("LAKEHOUSE_KILL_AT", "nowhere")
    context.settings()
    assert capsys.readouterr().err == "LAKEHOUSE_LANDNG is no setting; did you mean LAKEHOUSE_LANDING?\n"


def test_a_home_that_is_no_folder_is_told(tmp_path: Path) -> None:
    """Else the number of an error of the operating system is."""
    (tmp_path / "home").write_text("")
    with pytest.raises(LakehouseError, match=r"home is no folder; set LAKEHOUSE_HOME, or --home, to a folder"):
        open_home(tmp_path / "home")
