"""A hundred texts that are code somewhere, as names and as values: each is data wherever it goes, and what it is aimed
at is still there afterwards.
"""

from __future__ import annotations

import csv
import http.client
import io
import json
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import dagster as dg
import pytest
import snowflake.connector
from markdown_it import MarkdownIt
from snowflake.connector.errors import Error

from lakehouse_assets.embedded_snowflake import AccountAddress, connection_arguments, ensure_running
from lakehouse_assets.orchestration.presentation import markdown_table, plain
from lakehouse_assets_tests.pipeline.world import World

OUT = "LAKEHOUSE_INJECTED"
"""The file that an injection writes where it is carried out: into the working directory, or below /tmp."""

INJECTIONS = {
    "sql": [
        "'", '"', "''", "';--", "' OR '1'='1", "\" OR \"\"=\"", "x; DROP TABLE CANARY.T; --", "x'; DROP TABLE CANARY.T; --", '"; DROP TABLE CANARY.T; --',  # noqa: E501
        "x); DROP TABLE CANARY.T; --", "' UNION SELECT * FROM read_text('/etc/passwd') --", f"x; COPY (SELECT 1) TO '/tmp/{OUT}'; --",  # noqa: E501
        f"'; COPY (SELECT 1) TO '/tmp/{OUT}'; --", "/* x", "*/", "-- x", "$$", "$1", "?", ":1", "%s", "%(x)s", "IDENTIFIER('x')", "x' || (SELECT 1) || '",  # noqa: E501
        "SELECT 1", "NULL", "PUBLIC; USE ROLE ACCOUNTADMIN", "x\\' OR 1=1 --", "0x27", "';SELECT pg_sleep(9);--",
    ],
    "path": [
        "..", ".", "../../x", "..\\..\\x", "/etc/passwd", "//etc/passwd", "file:///etc/passwd", "%2e%2e%2f",
        "%252e%252e%252f", "..%00", "~", "~root/x",
        "C:\\x", "\\\\server\\share", "a/../../b", "*", "?[a-z]", "{a,b}", "x" * 200, "-rf",
    ],
    "markup": [
        "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "[x](javascript:alert(1))",
        "![x](http://evil.example/x.png)", "[red]x[/red]", "[/]",
        "[link=http://evil.example]x[/link]", "**x**", "__x__", "_x_", "`x`", "```", "# x", "| a | b |", "a|b",
        "&lt;b&gt;", "&amp;", "<b>", "~~x~~",
        "[x]: http://evil.example", "<!-- x -->", "\\", "$x$", "<svg/onload=alert(1)>", "http://evil.example/",
    ],
    "json and templates": [
        '{"a": 1}', "}", '","x":"', "\\u0000", "{{ 7 * 7 }}", "{% raw %}", "${7*7}", "#{7*7}", "{0}", "{self.__class__}", "<%= 7 %>", "%d%n",  # noqa: E501
    ],
    "shell": [f"$(touch /tmp/{OUT})", f"`touch /tmp/{OUT}`", f"; touch /tmp/{OUT}", f"| touch /tmp/{OUT}", "&& id", "$HOME", "!!", "x\ny"],  # noqa: E501
    "formula": ["=1+1", "+1+1", "@SUM(1)", "=HYPERLINK(\"http://evil.example\")", "=cmd|'/c calc'!A1"],
    "control": ["\x1b[31mred\x1b[0m", "\x1b]8;;http://evil.example\x07x", "a\x07b", "a\rb", "a\x08b", "\u202eabc", "\u200b", "\ufeffx", "\x7f", "é\u0301"],  # noqa: E501
}  # fmt: skip
ALL = [text for texts in INJECTIONS.values() for text in texts]


def test_there_are_a_hundred() -> None:
    """Without it the table shrinks unseen."""
    assert len(set(ALL)) == len(ALL) >= 100


@pytest.fixture
def no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Nothing was written where an injection writes."""
    monkeypatch.chdir(tmp_path)
    aims = [Path("/tmp", OUT), tmp_path / OUT]
    for aim in aims:
        aim.unlink(missing_ok=True)
    yield
    assert not [aim for aim in aims if aim.exists()]


@pytest.fixture
def account(shared: Path) -> Iterator[AccountAddress]:
    """The account, with a table that is there afterwards as before, and no database or schema more."""
    address = ensure_running(shared)
    with (
        snowflake.connector.connect(**connection_arguments(address, "INJECTED", "CANARY")) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("CREATE OR REPLACE TABLE T AS SELECT 7 AS a")
        cursor.execute("CREATE OR REPLACE STAGE ST")
        before = sorted((r[1], r[4]) for r in cursor.execute("SHOW SCHEMAS").fetchall())  # type: ignore[union-attr]
        yield address
        assert cursor.execute("SELECT a FROM INJECTED.CANARY.T").fetchall() == [(7,)]  # type: ignore[union-attr]
        after = {(r[1], r[4]) for r in cursor.execute("SHOW SCHEMAS").fetchall()}  # type: ignore[union-attr]
        assert set(before) <= after
        assert all(name.isidentifier() for name, _ in after)  # a login makes a schema of a name that is one


def answer(address: AccountAddress, method: str, path: str, content: Any = None, token: str = "") -> tuple[int, Any]:
    """Status and content of the account's answer."""
    connection = http.client.HTTPConnection(address.host, address.port, timeout=20)
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    connection.request(method, path, body, {"Authorization": f'Snowflake Token="{token}"'})
    got = connection.getresponse()
    said = json.loads(got.read())
    connection.close()
    return got.status, said


@pytest.mark.usefixtures("no_file")
@pytest.mark.parametrize(
    "where", ["databaseName", "schemaName", "roleName", "warehouse", "requestId", "LOGIN_NAME", "session parameter"]
)
def test_as_a_name_in_a_login(account: AccountAddress, where: str) -> None:
    """Without it a name that a client sends before its first statement runs as SQL."""
    for text in ALL:
        data: dict[str, Any] = {"PASSWORD": account.secret, "LOGIN_NAME": "x", "SESSION_PARAMETERS": {}}
        query = {"databaseName": "INJECTED", "schemaName": "CANARY"}
        if where == "LOGIN_NAME":
            data |= {where: text}
        elif where == "session parameter":
            data["SESSION_PARAMETERS"] = {text: text, "QUERY_TAG": text}
        else:
            query |= {where: text}
        path = "/session/v1/login-request?" + "&".join(f"{name}={quote(value)}" for name, value in query.items())
        status, said = answer(account, "POST", path, {"data": data})
        plain_name = text.replace("$", "").isidentifier() and text.isascii() and text not in ("$$", "$1")
        refused = where in ("databaseName", "schemaName") and not plain_name
        if refused:
            assert (status, said["success"]) == (200, False), text
        elif said["success"] and where not in ("databaseName", "schemaName"):
            assert answer(account, "POST", "/session?delete=true", {}, said["data"]["token"])[0] == 200


STATEMENTS: dict[str, Callable[[str], str]] = {
    "as it is": lambda text: text,
    "table": lambda text: "SELECT * FROM \"{}\"".format(text.replace('"', '""')),
    "unquoted": lambda text: f"SELECT * FROM {text}",
    "schema": lambda text: "USE SCHEMA \"{}\"".format(text.replace('"', '""')),
    "database": lambda text: "DROP DATABASE \"{}\"".format(text.replace('"', '""')),
    "created": lambda text: "CREATE DATABASE \"{}\"".format(text.replace('"', '""')),
    "stage": lambda text: f"LIST '@ST/{text}'",
    "put": lambda text: f"PUT 'file:///tmp/x' '@ST/{text}/'",
    "removed": lambda text: f"REMOVE '@\"{text}\"/x'",
    "copied": lambda text: f"COPY INTO T FROM '@ST/{text}'",
}  # fmt: skip


@pytest.mark.usefixtures("no_file")
@pytest.mark.parametrize("kind", STATEMENTS)
def test_as_a_statement_and_as_a_name_in_one(account: AccountAddress, kind: str) -> None:
    """Without it a name in a statement becomes another statement. Whatever is answered, it is an answer."""
    with (
        snowflake.connector.connect(**connection_arguments(account, "INJECTED", "CANARY")) as connection,
        connection.cursor() as cursor,
    ):
        for text in ALL:
            with suppress(Error):
                cursor.execute(STATEMENTS[kind](text))
        assert cursor.execute("SELECT 1").fetchall() == [(1,)]  # type: ignore[union-attr]


@pytest.mark.usefixtures("no_file")
def test_as_the_name_of_an_upload(account: AccountAddress, shared: Path) -> None:
    """Without it a file is written elsewhere than on its stage."""
    with (
        snowflake.connector.connect(**connection_arguments(account, "INJECTED", "CANARY")) as connection,
        connection.cursor() as cursor,
    ):
        token = connection.rest.token  # type: ignore[union-attr]
        stage = shared / "account" / "stages" / "INJECTED" / "CANARY" / "ST"

        def elsewhere() -> set[Path]:
            return {p for p in (shared / "account").rglob("*") if p.is_file() and not p.is_relative_to(stage)}

        before = elsewhere()
        for text in ALL:
            ticket = answer(
                account, "POST", f"/queries/v1/query-request?requestId={os.urandom(8).hex()}", {"sqlText": "PUT file:///tmp/x @ST/d/"}, str(token)  # noqa: E501
            )[1]["data"]["stageInfo"]["presignedUrl"].split("/")[4]  # fmt: skip
            assert answer(account, "PUT", f"/uploads/{ticket}/{quote(text, safe='')}", b"x")[0] in (200, 403)
        assert elsewhere() == before
        assert {p.parent for p in stage.rglob("*") if p.is_file()} == {stage / "d"}
        cursor.execute("REMOVE @ST")


@pytest.mark.usefixtures("no_file")
def test_as_a_bound_value(account: AccountAddress) -> None:
    """Without it a value is changed on its way, or does something."""
    with (
        snowflake.connector.connect(**connection_arguments(account, "INJECTED", "CANARY")) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("CREATE OR REPLACE TEMPORARY TABLE VALUES_ (n INT, v VARCHAR)")
        cursor.executemany("INSERT INTO VALUES_ VALUES (%s, %s)", list(enumerate(ALL)))
        assert cursor.execute("SELECT v FROM VALUES_ ORDER BY n").fetchall() == [(text,) for text in ALL]  # type: ignore[union-attr]
        for text in ALL:
            assert cursor.execute("SELECT %s", (text,)).fetchall() == [(text,)]  # type: ignore[union-attr]


def test_as_text_in_the_ui() -> None:
    """Without it a value of a drop is a picture, a link or a script in the pages of whoever looks at its check."""
    shown = markdown_table([{"sample": text, text: "x"} for text in ALL], len(ALL))
    assert isinstance(shown, dg.MarkdownMetadataValue)
    html = MarkdownIt("js-default", {"html": True}).render(shown.md_str or "")
    opened = {word.split(">")[0].split()[0] for word in html.replace("</", "<").split("<")[1:]}
    assert opened <= {"table", "thead", "tbody", "tr", "th", "td"}, opened
    assert html.count("<tr>") == len(ALL) + 1
    for text in ALL:
        alone = MarkdownIt("js-default", {"html": True}).renderInline(plain(text))
        assert "<" not in alone, (text, alone)


@pytest.mark.usefixtures("no_file")
def test_as_values_and_as_names_of_drops(make_world: Callable[..., World]) -> None:
    """Without it a drop does what a sender likes on the machine that reads it. Every value arrives in Snowflake as it
    was sent, or is in quarantine.
    """
    world = make_world()
    head = ["InvoiceNo", "StockCode", "Description", "Quantity", "InvoiceDate", "UnitPrice", "CustomerID", "Country"]

    def drop(name: str, rows: list[list[str]]) -> None:
        text = io.StringIO()
        csv.writer(text).writerows([head, *rows])
        world.drop(name, text.getvalue())

    texts = [text for text in ALL if text.strip()]
    drop(
        "orders/orders_2026-09-01.csv",
        [
            [str(500000 + n), f"{10000 + n}", text, "1", "2026-09-01 10:00:00", "1.00", "13901", "France"]
            for n, text in enumerate(texts)
        ],
    )
    drop(
        "orders/orders_2026-09-02.csv",
        [[str(600000 + n), text, "x", "1", "2026-09-02 10:00:00", "1.00", text, text] for n, text in enumerate(texts)]
        + [
            [str(700000 + n), "20000", "x", text, "2026-09-02 10:00:00", text, "1", "France"]
            for n, text in enumerate(texts[:5])
        ],
    )
    named = set()
    for n, text in enumerate(ALL):
        name = f"orders/{text.replace('/', '').replace(chr(0), '')[:150]}_2026-09-03.csv"
        if not name.startswith(("orders/.", "orders/_")):
            drop(name, [[str(800000 + n), "20000", "x", "1", "2026-09-03 10:00:00", "1.00", "1", "France"]])
            named.add(name)
    around = {p for p in world.root.iterdir()}
    world.run()
    lines = world.delta("silver.order_lines").to_pylist()
    found = {line["invoice"]: line for line in lines}
    rejected = {str(row["raw"]) for row in world.delta("silver.order_lines_quarantine").to_pylist()}
    for n, text in enumerate(texts):
        line = found.get(str(500000 + n))
        assert (line and line["description"] == text) or any(str(500000 + n) in raw for raw in rejected), (text, line)
    named_rows = sum(1 for invoice in found if invoice.startswith("8"))
    assert named_rows == len(named)
    assert {p for p in world.root.iterdir()} - around <= {
        world.root / "tables",
        world.root / "staging",
        world.root / "instance",
    }
    done = world.command("verify")
    assert done.returncode == 0, done.stdout + done.stderr
