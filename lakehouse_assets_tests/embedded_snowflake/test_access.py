"""Nobody gets into the embedded account but its owner, and no request or file breaks it or leaves the stage. Each test
here is an exploit that worked once. Does not belong here: what SQL reaches (`test_sql_confinement.py`), what lies on
disk (`test_privacy.py`).
"""

from __future__ import annotations

import json
import os
import socket
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
    stop,
)
from lakehouse_assets_tests.embedded_snowflake.conftest import Sql, login, request, token

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
