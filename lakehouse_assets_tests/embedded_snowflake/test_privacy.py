"""What lies on disk and in the server's process is its owner's alone. Each test here is an exploit that worked once."""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
from pathlib import Path

import psutil
import pytest
import snowflake.connector
from snowflake.connector.errors import Error

from lakehouse_assets.embedded_snowflake import account_directory, connection_arguments, ensure_running, running, stop
from lakehouse_assets_tests.embedded_snowflake.conftest import Sql


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
