"""Nobody gets into the embedded account but its owner, and nothing that a client sends gets out of it. Each test here
is an exploit that worked once.
"""

from __future__ import annotations

import http.client
import json
import os
import pwd
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import pytest
import snowflake.connector
from snowflake.connector import SnowflakeConnection
from snowflake.connector.errors import DatabaseError, Error, ProgrammingError

from lakehouse_assets.embedded_snowflake import (
    AccountAddress,
    account_directory,
    connection_arguments,
    ensure_running,
    running,
    stop,
)
from lakehouse_assets_tests.embedded_snowflake.conftest import Sql


def request(
    address: AccountAddress, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, Any]:
    """Status and content of the answer to a raw request; it must come within some seconds, and be JSON."""
    connection = http.client.HTTPConnection(address.host, address.port, timeout=15)
    connection.request(method, path, body, headers or {})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, json.loads(content) if content else None


def login(
    address: AccountAddress, query: str = "", headers: dict[str, str] | None = None, **data: Any
) -> tuple[int, Any]:
    """A login request as the connector sends it, with the right password unless `data` says another."""
    given = {"PASSWORD": connection_arguments(address)["password"], "LOGIN_NAME": "embedded"} | data
    return request(address, "POST", f"/session/v1/login-request?{query}", json.dumps({"data": given}).encode(), headers)


def token(connection: SnowflakeConnection) -> dict[str, str]:
    """The header that a session shows."""
    return {"Authorization": f'Snowflake Token="{connection.rest.token}"'}  # type: ignore[union-attr]


# -- who gets in -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("password", ["embedded", "x" * 43, "\0", "Ä", "' OR '1'='1"])
def test_a_client_without_the_secret_is_refused_at_once(address: AccountAddress, password: str) -> None:
    """Without it any user of the machine is let in. A refusal that the connector repeats would look like a hang."""
    with pytest.raises((DatabaseError, ProgrammingError), match="password of the embedded account"):
        snowflake.connector.connect(**{**connection_arguments(address), "password": password, "login_timeout": 5})


@pytest.mark.parametrize(
    "data", [{}, {"PASSWORD": None}, {"PASSWORD": ["x"]}, {"PASSWORD": {"a": 1}}, {"TOKEN": "x"}, None, "text", [1], 1]
)
def test_a_login_without_a_password_is_refused_by_snowflakes_code(address: AccountAddress, data: Any) -> None:
    """Without it another form of login goes round the password."""
    status, answer = request(address, "POST", "/session/v1/login-request", json.dumps({"data": data}).encode())
    assert (status, answer["success"], answer["code"]) == (200, False, "390100")


@pytest.mark.parametrize(("method", "path"), [
    ("GET", "/account"), ("GET", "/account?pid={pid}"), ("GET", "/account?nonce=1&proof=x"), ("POST", "/telemetry/send"),  # noqa: E501
    ("POST", "/queries/v1/query-request?requestId=1"), ("POST", "/queries/v1/abort-request"), ("GET", "/queries/1/result"),  # noqa: E501
    ("GET", "/monitoring/queries/1"), ("POST", "/session"), ("POST", "/session?delete=true"), ("POST", "/session/heartbeat"),  # noqa: E501
    ("PUT", "/uploads/x/y"), ("PUT", "/uploads//"), ("PUT", "/uploads"), ("PUT", "/"), ("PUT", "/session/v1/login-request"), ("GET", "/"),  # noqa: E501
    ("GET", "//"), ("GET", "/nothing"), ("POST", "/account"), ("GET", "/queries/result"), ("GET", "/monitoring/queries/"),  # noqa: E501
])  # fmt: skip
def test_no_route_does_anything_without_a_login(address: AccountAddress, method: str, path: str) -> None:
    """Without it whoever reaches the port learns what runs there, stops statements or fills the disk."""
    status, answer = request(address, method, path.format(pid=address.pid), b"{}" if method != "GET" else None)
    assert status >= 400 or answer["code"] == "390104"
    assert str(address.pid) not in json.dumps(answer)


@pytest.mark.parametrize("headers", [
    {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Origin": "http://127.0.0.1:{port}"}, {"Host": "evil.example:{port}"},  # noqa: E501
    {"Host": "127.0.0.1"}, {"Host": "evil.example@127.0.0.1:{port}"}, {"Host": ""}, {"Host": "127.0.0.1.evil.example:{port}"},  # noqa: E501
])  # fmt: skip
def test_a_web_page_is_refused_on_every_route(
    address: AccountAddress, connect: Callable[..., SnowflakeConnection], headers: dict
) -> None:
    """Without it a page in the user's browser, or one whose name was made to lead here, sends requests in their
    place.
    """
    given = {name: value.format(port=address.port) for name, value in headers.items()}
    assert login(address, headers=given)[0] == 403
    session = token(connect())
    for method, path in (
        ("GET", "/account"),
        ("POST", "/session/heartbeat"),
        ("PUT", "/uploads/x/y"),
        ("POST", "/telemetry/send"),
    ):
        assert request(address, method, path, b"" if method != "GET" else None, session | given)[0] == 403


def test_a_browser_gets_no_leave_for_a_request_of_another_site(address: AccountAddress) -> None:
    """Without it the question that a browser asks first (CORS) is answered as if pages were welcome."""
    raw = socket.create_connection((address.host, address.port), timeout=10)
    raw.sendall(
        f"OPTIONS / HTTP/1.1\r\nHost: 127.0.0.1:{address.port}\r\nOrigin: https://evil.example\r\n\r\n".encode()
    )
    answer = raw.recv(10000).decode()
    raw.close()
    assert answer.split()[1] in ("403", "501")
    assert "Access-Control" not in answer
    assert "Python" not in answer


def test_the_server_of_a_home_proves_itself_before_it_is_sent_the_secret(tmp_path: Path) -> None:
    """Without it whoever takes the port of a server that died is sent the password by the next run."""
    directory = account_directory(tmp_path)
    directory.mkdir()
    heard = []
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        (directory / "server.json").write_text(
            json.dumps({"host": "127.0.0.1", "port": port, "pid": os.getpid(), "started": 0.0})
        )
        child = subprocess.Popen(
            [sys.executable, "-c", f"from pathlib import Path; from lakehouse_assets.embedded_snowflake import running;"
             f"assert running(Path({str(tmp_path)!r})) is None"]
        )  # fmt: skip
        client, _ = stranger.accept()
        heard.append(client.recv(10000))
        said = json.dumps({"pid": os.getpid(), "proof": "0" * 64}).encode()
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(said) + said)
        assert child.wait(30) == 0
        client.close()
    assert (directory / "secret").read_bytes() not in heard[0]


def test_a_secret_that_is_lost_or_broken_is_made_anew(tmp_path: Path) -> None:
    """Without it a file that was emptied locks the owner out, or lets everybody in with an empty password."""
    secret = account_directory(tmp_path) / "secret"
    seen = set()
    for broken in (None, b"", b"x", b"\xff" * 43, b" " * 43, b"a" * 44):
        address = ensure_running(tmp_path)
        if broken is None:
            secret.unlink()
        else:
            secret.write_bytes(broken)
        address = ensure_running(tmp_path)
        assert len(address.secret) == 43
        seen.add(address.secret)
        snowflake.connector.connect(**connection_arguments(address)).close()
        with pytest.raises(Error):
            snowflake.connector.connect(
                **{**connection_arguments(address), "password": (broken or b"").decode("latin-1")}
            )
    assert len(seen) == 6
    stop(tmp_path)


# -- requests that are none ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("head", "body"), [
    ("Content-Length: -1", ""), ("Content-Length: x", ""), ("Content-Length: 99999999999999999999", ""), ("Content-Length: 5000000000", ""),  # noqa: E501
    ("Content-Length: 1\r\nContent-Length: 2", "ab"), ("Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\n\r\n"), ("Content-Length: 1", "{"),  # noqa: E501
    ("Content-Length: 2", "[]"), ("Content-Length: 4", "null"), ("Content-Length: 2\r\nContent-Encoding: gzip", "{}"),
    ("Content-Length: 200000", "[" * 200000), ("Content-Length: 2000000", "x" * 2000000), ("X: " + "y" * 70000, ""), ("\x00: \x00", ""),  # noqa: E501
])  # fmt: skip
def test_a_request_that_is_none_gets_an_answer(address: AccountAddress, head: str, body: str) -> None:
    """Without it one malformed request ends in a traceback or leaves a thread that waits for ever."""
    raw = socket.create_connection((address.host, address.port), timeout=20)
    raw.sendall(
        f"POST /session/v1/login-request HTTP/1.1\r\nHost: 127.0.0.1:{address.port}\r\n{head}\r\n\r\n{body}".encode(
            "latin-1"
        )
    )
    answer = raw.recv(10000).decode()
    raw.close()
    assert int(answer.split()[1]) in (400, 411, 413, 431, 200), answer
    assert "Traceback" not in answer
    assert "390100" in answer or " 200 " not in answer.splitlines()[0]


def test_a_body_that_grows_when_it_is_unpacked_is_refused(
    address: AccountAddress, connect: Callable[..., SnowflakeConnection]
) -> None:
    """Without it some kilobytes become all of the memory, before anybody has logged in."""
    import gzip

    before = psutil.Process(address.pid).memory_info().rss
    status, _ = request(
        address, "POST", "/session/v1/login-request", gzip.compress(b" " * 400_000_000, 9), {"Content-Encoding": "gzip"}
    )
    assert status == 413
    assert psutil.Process(address.pid).memory_info().rss - before < 100_000_000


def test_what_an_unknown_sender_uploads_is_never_written(address: AccountAddress, account_home: Path) -> None:
    """Without it whoever reaches the port fills the disk: the body was written before its ticket was looked at."""
    uploads = account_directory(account_home) / "uploads"
    raw = socket.create_connection((address.host, address.port), timeout=20)
    raw.sendall(
        f"PUT /uploads/nobody/file HTTP/1.1\r\nHost: 127.0.0.1:{address.port}\r\nContent-Length: 100000000\r\n\r\n".encode()  # noqa: E501
    )
    raw.sendall(b"x" * 1000)
    raw.settimeout(10)
    answer = raw.recv(1000)  # before the rest was sent
    assert b" 403 " in answer
    assert not list(uploads.iterdir())
    raw.close()


def put_address(address: AccountAddress, session: dict[str, str], statement: str) -> str:
    """The address to which a PUT statement sends its file, without the file's name."""
    body = json.dumps({"sqlText": statement}).encode()
    answer = request(address, "POST", "/queries/v1/query-request?requestId=" + os.urandom(8).hex(), body, session)[1]
    assert answer["success"], answer
    return answer["data"]["stageInfo"]["presignedUrl"].split(f":{address.port}", 1)[1].rpartition("/")[0]


def test_a_ticket_is_good_for_one_upload_of_a_session_that_lives(sql: Sql, address: AccountAddress) -> None:
    """Without it whoever has seen an address writes to the stage for as long as the server runs."""
    sql("CREATE STAGE ST")
    statement = "PUT file:///tmp/f @ST/d/"
    where = put_address(address, token(sql.connection), statement)
    assert request(address, "PUT", f"{where}/f", b"one")[0] == 200
    assert request(address, "PUT", f"{where}/f", b"two")[0] == 403
    late = put_address(address, token(sql.connection), statement)
    header = token(sql.connection)
    request(address, "POST", "/session?delete=true", b"", header)
    assert request(address, "PUT", f"{late}/f", b"three")[0] == 403


OUT = ["/tmp/x", "../x", "../../../../x", "..", ".", "", "a/../../x", "..\\x", "%2e%2e/x", "%252e%252e%252fx", "%2fetc%2fx", "a\0b", "..%00/x",  # noqa: E501
       "a\nb", "a\x7fb", "..%5cx", "%5c%5cserver%5cshare"]  # fmt: skip


@pytest.mark.parametrize("name", OUT)
def test_the_name_of_an_upload_cannot_leave_the_stage(
    sql: Sql, address: AccountAddress, account_home: Path, name: str
) -> None:
    """Without it a client writes anywhere in the home, in however many layers it wraps the path."""
    sql("CREATE STAGE ST")
    where = put_address(address, token(sql.connection), "PUT file:///tmp/f @ST/d/")
    status, _ = request(address, "PUT", f"{where}/{quote(name, safe='')}", b"x")
    assert status == 403
    assert sql("LIST @ST") == []


@pytest.mark.parametrize(
    "path",
    [
        "/{outside}",
        "//{outside}",
        "../{outside}",
        "%2e%2e/{outside}",
        "%252e%252e/x",
        "a/../../../x",
        "..\\x",
        "%5c..%5cx",
        "link/x",
    ],
)
def test_the_target_of_a_put_cannot_leave_the_stage(sql: Sql, account_home: Path, tmp_path: Path, path: str) -> None:
    """Without it a PUT writes to any folder of the user's."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "f").write_text("x")
    sql("CREATE STAGE ST")
    schema = sql.value("CURRENT_SCHEMA()")
    stage = account_directory(account_home) / "stages" / "LAKEHOUSE" / schema / "ST"
    stage.mkdir(parents=True)
    (stage / "link").symlink_to(outside)
    target = path.format(outside=outside)
    with pytest.raises(Error):
        sql(f"PUT 'file://{tmp_path}/f' '@ST/{target}/' AUTO_COMPRESS=FALSE")
    assert not list(outside.iterdir())
    for statement in (
        f"LIST '@ST/{target}'",
        f"REMOVE '@ST/{target}'",
        "COPY INTO T FROM '@ST/{}'".format(target.replace("\\", "\\\\")),
        f"GET '@ST/{target}' 'file:///tmp/'",
    ):
        with pytest.raises(Error):
            sql(statement)


# -- what SQL reaches ------------------------------------------------------------------------------------------------

NAMES = ["x; DROP TABLE LAKEHOUSE.KEPT.T; --", 'x"; DROP TABLE LAKEHOUSE.KEPT.T; --', "x; COPY (SELECT 1) TO '{out}'; --", "'x'; COPY (SELECT 1) TO '{out}'; --", "x' OR '1'='1", "../x", "a b", "_fs_global",  # noqa: E501
         "x\0y", "{{ 7*7 }}", "$(touch {out})", "é", "", "a" * 300, "-- x", "x/*", "x' UNION SELECT 1 --"]  # fmt: skip


@pytest.mark.parametrize("where", ["databaseName", "schemaName", "roleName", "warehouse"])
@pytest.mark.parametrize("name", NAMES)
def test_no_name_of_a_login_runs_as_sql(
    address: AccountAddress, sql: Sql, tmp_path: Path, where: str, name: str
) -> None:
    """Without it a name drops tables and writes files, as a schema name in a login request did."""
    sql("CREATE SCHEMA IF NOT EXISTS LAKEHOUSE.KEPT")
    sql("CREATE TABLE IF NOT EXISTS LAKEHOUSE.KEPT.T (a INT)")
    out = tmp_path / "out"
    given = name.format(out=out) if "{out}" in name else name
    query = "&".join(
        f"{k}={quote(v)}" for k, v in ({"databaseName": "LAKEHOUSE", "schemaName": "S"} | {where: given}).items()
    )
    status, answer = login(address, query)
    assert status == 200
    if where in ("databaseName", "schemaName") and given and not (where == "schemaName" and given == "_fs_global"):
        assert answer["success"] is False
    elif where in ("roleName", "warehouse"):
        header = {"Authorization": f'Snowflake Token="{answer["data"]["token"]}"'}
        function = "CURRENT_ROLE()" if where == "roleName" else "CURRENT_WAREHOUSE()"
        asked = json.dumps(
            {"sqlText": f"SELECT {function} = ? AS same", "bindings": {"1": {"type": "TEXT", "value": given}}}
        ).encode()
        said = request(address, "POST", "/queries/v1/query-request?requestId=1", asked, header)[1]
        assert said["success"] or "\0" in given, said
    assert sql("SELECT COUNT(*) FROM LAKEHOUSE.KEPT.T") == [(0,)]
    assert not out.exists()
    assert sql("SHOW DATABASES") == sql("SHOW DATABASES LIKE '%LAKEHOUSE%'") or {
        r[1] for r in sql("SHOW DATABASES")
    } == {"LAKEHOUSE"}


FILES = [
    "SELECT * FROM read_text('{secret}')", "SELECT * FROM READ_BLOB('{secret}')",
    "SELECT * FROM \"read_text\"('{secret}')",
    "SELECT * FROM system.main.read_text('{secret}')", "SELECT * FROM TABLE(read_text('{secret}'))",
    "SELECT * FROM read_csv('{secret}')",
    "SELECT * FROM read_csv_auto('{secret}')", "SELECT * FROM read_json('{secret}')",
    "SELECT * FROM read_parquet('{secret}')",
    "SELECT * FROM '{secret}'", "FROM '{secret}'", 'SELECT * FROM "{secret}"', "SELECT * FROM IDENTIFIER('{secret}')",
    "SELECT * FROM IDENTIFIER('\"{secret}\"')", "SELECT * FROM glob('{home}/**')",
    "SELECT * FROM sniff_csv('{secret}')",
    "SELECT * FROM read_text('/proc/self/environ')", "SELECT getenv('HOME')", "SELECT * FROM query('SELECT 1')",
    "SELECT * FROM query_table('T')", "SELECT * FROM json_execute_serialized_sql('x')",
    "SELECT * FROM duckdb_settings()",
    "SELECT * FROM duckdb_secrets()", "SELECT current_setting('temp_directory')", "SELECT * FROM arrow_scan(1, 2, 3)",
    "COPY (SELECT 1) TO '{out}'", "COPY T TO '{out}'", "COPY INTO '{out}' FROM T", "COPY INTO 'file://{out}' FROM T",
    "COPY INTO T FROM '{secret}'", "COPY INTO T FROM 'file://{secret}'", "COPY INTO T FROM 's3://x/y'",
    "COPY T FROM '{secret}'",
    "COPY (SELECT 1) TO '{home}/account/databases/x.db'",
    "SELECT * FROM read_blob('{home}/account/databases/LAKEHOUSE.db')",
    "SELECT * FROM '{home}/account/databases/LAKEHOUSE.db'", 'SELECT * FROM "{home}/account/databases/LAKEHOUSE.db"',
    "ATTACH ':memory:' AS m", "ATTACH '{out}' AS m", "ATTACH DATABASE '{out}'", "DETACH LAKEHOUSE",
    "EXPORT DATABASE '{out}'",
    "IMPORT DATABASE '{home}'", "INSTALL httpfs", "LOAD httpfs", "LOAD '{out}'", "PRAGMA database_list",
    "PRAGMA enable_logging",
    "CREATE SECRET s (TYPE s3)", "CREATE TEMPORARY SECRET s (TYPE s3)", "RESET allowed_directories",
    "CALL enable_logging(storage_path = '{out}')", "CREATE VIEW V AS SELECT * FROM read_text('{secret}')",
    "CREATE TABLE U AS SELECT * FROM read_text('{secret}')", "INSERT INTO T SELECT content FROM read_text('{secret}')",
    "DESCRIBE SELECT * FROM read_text('{secret}')", "WITH c AS (SELECT * FROM read_text('{secret}')) SELECT * FROM c",
    "SELECT (SELECT content FROM read_text('{secret}'))",
    "MERGE INTO T USING (SELECT content AS a FROM read_text('{secret}')) s ON T.a = s.a WHEN NOT MATCHED THEN INSERT VALUES (s.a)",  # noqa: E501
    "DELETE FROM T WHERE a IN (SELECT content FROM read_text('{secret}'))",
    "UPDATE T SET a = (SELECT content FROM read_text('{secret}'))",
    "SELECT 1; COPY (SELECT 1) TO '{out}'", "USE SCHEMA \"x'; COPY (SELECT 1) TO '{out}'; --\"",
    "USE DATABASE \"x'; COPY (SELECT 1) TO '{out}'; --\"",
    "CREATE DATABASE \"../x\"", "DROP DATABASE \"../../x\"", 'DROP DATABASE "_fs_global"', 'CREATE OR REPLACE DATABASE "_fs_global"',  # noqa: E501
    "CREATE SCHEMA \"x'; COPY (SELECT 1) TO '{out}'; --\"", "CREATE STAGE \"../../x\"",
    "CREATE STAGE \"a' || (SELECT content FROM read_text('{secret}')) || '\"",
    "CREATE FILE FORMAT \"a' || 'b\" TYPE = PARQUET", "CREATE TABLE \"{out}\" (a INT)",
    "PUT file:///tmp/x '@\"../../x\"/'", "GET @ST 'file://{out}'",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{out}'", "VACUUM", "CHECKPOINT",
    "SELECT * FROM parquet_metadata('{secret}')", "SELECT write_log('x')",
]  # fmt: skip


@pytest.mark.parametrize("statement", FILES)
def test_sql_reaches_no_file_and_no_setting(sql: Sql, account_home: Path, tmp_path: Path, statement: str) -> None:
    """Without it a statement reads any file of the user's, or writes one. Also the account's own database files are
    none of its business.
    """
    secret, out = tmp_path / "secret.csv", tmp_path / "out"
    secret.write_text("CANARY\n1\n")
    sql("CREATE TABLE T (a VARCHAR)")
    sql("CREATE STAGE ST")
    with pytest.raises(Error) as refused:
        sql(statement.format(secret=secret, out=out, home=account_home))
    assert "CANARY" not in str(refused.value)
    assert not out.exists()
    assert sql("SELECT COUNT(*) FROM T") == [(0,)]


def test_a_variable_cannot_hold_what_a_statement_may_not(sql: Sql, tmp_path: Path) -> None:
    """Without it the refusals are gone round by SET, and by a binding that names a table."""
    (tmp_path / "x.csv").write_text("CANARY\n1\n")
    with pytest.raises(Error):
        sql(f"SET v = (SELECT content FROM read_text('{tmp_path}/x.csv'))")
    with pytest.raises(Error):
        sql("SELECT * FROM IDENTIFIER(%s)", (f'"{tmp_path}/x.csv"',))


def test_what_refusals_would_let_through_is_shut_in_duckdb_itself(sql: Sql, tmp_path: Path) -> None:
    """Without it one function that nobody thought of opens the machine. The refusals are turned off here, in a
    catalogue of this process.
    """
    script = f"""
import duckdb, pathlib
from lakehouse_assets.embedded_snowflake.catalogue import Catalogue
home = pathlib.Path({str(tmp_path)!r})
(home / "x.csv").write_text("CANARY")
(home / "a").mkdir()
catalogue = Catalogue(home / "a")
duck = catalogue.connect("LAKEHOUSE", "S")._duck_conn
for statement in (f"FROM read_text('{{home}}/x.csv')", "FROM read_text('/proc/self/environ')", f"FROM '{{home}}/x.csv'", f"FROM glob('{{home}}/*')",
    f"COPY (SELECT 1) TO '{{home}}/out'", f"ATTACH '{{home}}/out.db'", f"EXPORT DATABASE '{{home}}/out'", "INSTALL httpfs", "LOAD httpfs",
    "SET enable_external_access = true", "SET GLOBAL allowed_directories = ['/']", "SET lock_configuration = false",
    "CREATE PERSISTENT SECRET s (TYPE s3)", f"CALL enable_logging(storage = 'file', storage_path = '{{home}}/out')"):
    try:
        rows = duck.execute(statement).fetchall()
    except duckdb.Error:
        continue
    raise SystemExit(f"{{statement}}: {{rows}}")
assert not list(home.glob("out*"))
catalogue.connect("SECOND", "S")._duck_conn.execute("CREATE TABLE t AS SELECT 1")
"""  # noqa: E501
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


# -- what lies on disk, and in the process ---------------------------------------------------------------------------


def open_to_others(home: Path) -> list[str]:
    """What in a home another user could reach by its permissions."""
    return [str(p) for p in (home, *home.rglob("*")) if not p.is_symlink() and stat.S_IMODE(p.stat().st_mode) & 0o077]


def test_a_home_is_its_owners_alone(tmp_path: Path) -> None:
    """Without it other users of the machine read the tables from disk, whatever the ports do."""
    home = tmp_path / "home"
    old = os.umask(0o022)
    try:
        sql = Sql(snowflake.connector.connect(**connection_arguments(ensure_running(home), "LAKEHOUSE", "S")))
        sql("CREATE TABLE T (a INT)")
        sql("CREATE STAGE ST")
        (tmp_path / "f").write_text("x")
        sql(f"PUT file://{tmp_path}/f @ST/d/")
        assert open_to_others(home) == []
        stop(home)
        # A home of before.
        for path in (home, *home.rglob("*")):
            path.chmod(path.stat().st_mode | (0o055 if path.is_dir() else 0o044))
        os.umask(0o022)
        Sql(snowflake.connector.connect(**connection_arguments(ensure_running(home), "LAKEHOUSE", "S")))(
            "SELECT * FROM T"
        )
        assert open_to_others(home) == []
    finally:
        os.umask(old)
        stop(home)


def test_a_folder_that_is_not_only_ours_is_not_shut(tmp_path: Path) -> None:
    """Without it LAKEHOUSE_HOME=. takes a shared folder from its other users."""
    tmp_path.chmod(0o755)
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs").chmod(0o755)
    ensure_running(tmp_path)
    stop(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "theirs").stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "account").stat().st_mode) == 0o700


def test_the_server_holds_no_secret_of_whoever_started_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it keys in the environment of one command stay readable in a process that lives for hours."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "CANARY-1")
    monkeypatch.setenv("SNOWFLAKE_PASSWORD", "CANARY-2")
    monkeypatch.setenv("LAKEHOUSE_EMAIL_KEY", "CANARY-3")
    address = ensure_running(tmp_path)
    process = psutil.Process(address.pid)
    assert not [name for name, value in process.environ().items() if "CANARY" in value]
    assert address.secret not in " ".join([*process.cmdline(), *process.environ().values()])
    stop(tmp_path)


def test_the_secret_is_in_no_log_and_no_text(tmp_path: Path) -> None:
    """Without it the password is found where anybody looks first."""
    address = ensure_running(tmp_path)
    with pytest.raises(Error) as refused:
        snowflake.connector.connect(**{**connection_arguments(address), "password": "CANARY"})
    snowflake.connector.connect(**connection_arguments(address, "LAKEHOUSE", "S")).close()
    stop(tmp_path)
    log = (account_directory(tmp_path) / "server.log").read_text()
    assert address.secret not in log + repr(address) + str(refused.value)
    assert "CANARY" not in log


def other_user() -> pwd.struct_passwd:
    """Some user who is not us. Skips where a process cannot become one."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    return pwd.getpwnam("nobody")


def test_another_user_of_the_machine_gets_nothing(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Without it the permissions are only as good as what was thought of: here a real other user tries."""
    user = other_user()
    home = Path("/var/tmp") / f"lakehouse-access-{os.getpid()}" / "home"
    home.parent.mkdir(mode=0o755)
    try:
        address = ensure_running(home)
        Sql(snowflake.connector.connect(**connection_arguments(address, "LAKEHOUSE", "S")))("CREATE TABLE T (a INT)")
        script = f"""
import http.client, json, os
got = []
for path in ({str(home)!r}, *({str(home)!r} + "/account/" + n for n in ("", "secret", "server.json", "databases", "databases/LAKEHOUSE.db", "server.log"))):
    try:
        os.listdir(path) if os.path.isdir(path) else open(path).read()
        got.append(path)
    except OSError:
        pass
for name in ("environ", "mem", "fd"):
    try:
        path = "/proc/{address.pid}/" + name
        os.listdir(path) if name == "fd" else open(path, "rb").read()
        got.append(path)
    except OSError:
        pass
c = http.client.HTTPConnection("127.0.0.1", {address.port}, timeout=10)
c.request("POST", "/session/v1/login-request", json.dumps({{"data": {{"PASSWORD": "embedded"}}}}))
got += [] if json.loads(c.getresponse().read())["code"] == "390100" else ["login"]
print(got)
"""  # noqa: E501
        done = subprocess.run(
            ["/usr/bin/env", "python3", "-c", script], user=user.pw_uid, group=user.pw_gid, extra_groups=[], cwd="/", capture_output=True,  # noqa: E501
            text=True, check=False, env={"PATH": "/usr/local/bin:/usr/bin:/bin"},
        )  # fmt: skip
        if done.returncode and "Permission denied" in done.stderr:
            pytest.skip("there is no Python that another user may run")
        assert done.stdout.strip() == "[]", done
        assert running(home)
    finally:
        stop(home)
        subprocess.run(["rm", "-rf", str(home.parent)], check=True)
