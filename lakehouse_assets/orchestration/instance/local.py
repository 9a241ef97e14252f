"""The one Dagster instance of this machine, and the `.env` by which Dagster's own commands find it.

What belongs here: writing these two files, and which instance a command is on. What does not: what the instance is made
of, which is in `dagster.local.yaml`, and reading settings, which `settings.py` does.

As a command, for `make`: `python -m lakehouse_assets.orchestration.instance.local`, which takes LAKEHOUSE_HOME from the
environment or from `.env`, as every other command does.
"""

import argparse
import fcntl
import io
import json
import os
import re
import sqlite3
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

import psutil
from dotenv import dotenv_values

from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.paths import plain
from lakehouse_assets.private import open_home
from lakehouse_assets.settings import Settings

TEMPLATE = Path(__file__).with_name("dagster.local.yaml")

# Larger batches gain nothing measurable and hold the events of a step in memory for longer.
EVENT_BATCH_SIZE = 1000

_BEGIN = "# >>> written by make; all other lines are yours, and win"
_END = "# <<< written by make"
_BLOCK = re.compile(f"^{re.escape(_BEGIN)}$.*?^{re.escape(_END)}$\n?", re.MULTILINE | re.DOTALL)


def ensure_instance(home: Path) -> Path:
    """Write `<home>/dagster/dagster.yaml` from `dagster.local.yaml`, unless it says that already, and return the
    folder: the DAGSTER_HOME of this machine.

    Any number of processes may do so at once, and it is cheap enough for every start.

    Raises:
        LakehouseError: the template is missing, as where the package was installed without its project folder.
    """
    if not TEMPLATE.is_file():
        raise LakehouseError(
            f"{TEMPLATE} is missing: install from the project's folder with `make`, or set DAGSTER_HOME to an instance"
            " of your own."
        )
    instance = open_home(plain(home)) / "dagster"
    instance.mkdir(exist_ok=True)
    in_quotes = json.dumps(instance.as_posix())[1:-1]
    _write_if_different(
        instance / "dagster.yaml", TEMPLATE.read_text(encoding="utf-8").replace("{instance}", in_quotes)
    )
    return instance


def environment(instance: Path) -> dict[str, str]:
    """What every process on the local instance needs in its environment, whoever starts it: where the instance is, and
    that events are stored in batches.
    """
    return {"DAGSTER_HOME": str(instance), "DAGSTER_EVENT_BATCH_SIZE": str(EVENT_BATCH_SIZE)}


def environment_of_command(home: Path, given: Mapping[str, str], env_file: Path = Path(".env")) -> dict[str, str]:
    """What a command on `home` sets in its environment. given: its environment, in which `env_file` has been loaded.

    An instance that the user names by DAGSTER_HOME, there or in a line of their own, stays theirs. What `make` wrote
    into `env_file` is the instance of the home that it knew, and says nothing of another one, given by an option or by
    LAKEHOUSE_HOME.
    """
    named = given.get("DAGSTER_HOME")
    if named and named != _written_by_make(env_file).get("DAGSTER_HOME"):
        return {"DAGSTER_EVENT_BATCH_SIZE": given.get("DAGSTER_EVENT_BATCH_SIZE") or str(EVENT_BATCH_SIZE)}
    return environment(ensure_instance(home))


def working_on(home: Path) -> list[int]:
    """The process ids of Dagster's servers that work on a home, as far as this user may see."""
    instance, found = os.path.realpath(plain(home) / "dagster"), []
    for process in psutil.process_iter(["pid", "cmdline", "environ"]):
        seen = process.info
        named = (seen["environ"] or {}).get("DAGSTER_HOME")
        if named and os.path.realpath(named) == instance and any("dagster" in word for word in seen["cmdline"] or ()):
            found.append(seen["pid"])
    return [pid for pid in sorted(found) if pid != os.getpid()]


def refuse_broken_storage(instance: Path) -> None:
    """Raise `LakehouseError` where a database of Dagster's history on this machine is none, or is broken. instance: the
    DAGSTER_HOME.
    """
    for file in sorted(p for p in instance.rglob("*.db") if p.stat().st_size):
        try:
            with closing(sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True)) as database:
                database.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):
                continue  # somebody else holds it, or it lies where nobody may look
            raise LakehouseError(
                f"{file}, a database of Dagster's history, is broken ({error}); move {instance} away and run again:"
                " what is loaded is in the tables, and only the history of runs is lost."
            ) from error


def may_hold_unfinished_runs(instance: Path) -> bool:
    """Whether a run of the local instance has not come to its end; true as well where that cannot be told. Read from
    Dagster's database without Dagster, which takes longer to import than a command that finds nothing to do may take.
    """
    file = instance / "history" / "runs.db"
    ended = "('SUCCESS', 'FAILURE', 'CANCELED', 'QUEUED')"  # a queued run has no process yet
    try:
        with closing(sqlite3.connect(f"file:{quote(str(file))}?mode=ro", uri=True)) as database:
            return database.execute(f"SELECT 1 FROM runs WHERE status NOT IN {ended} LIMIT 1").fetchone() is not None
    except sqlite3.DatabaseError:
        return True


@contextmanager
def one_at_a_time(instance: Path) -> Iterator[None]:
    """Held by a command while Dagster opens its databases: of two that make them at once, one fails. instance: the
    DAGSTER_HOME.
    """
    with (instance / "opening.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def in_use(home: Path) -> Iterator[None]:
    """Held by a command that works on a home, with others."""
    folder = open_home(plain(home)) / "cache"
    folder.mkdir(exist_ok=True)
    with (folder / "in_use.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield


@contextmanager
def alone(home: Path) -> Iterator[None]:
    """Held by whoever takes a home away. Raises `LakehouseError` where a command works on it."""
    file = plain(home) / "cache" / "in_use.lock"
    if not file.is_file():
        yield
        return
    with file.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LakehouseError(
                f"A command works on {home}; wait until it has ended, or stop it with Ctrl-C, for it would go on with"
                " files that are gone."
            ) from None
        yield


def _written_by_make(env_file: Path) -> dict[str, str | None]:
    block = _BLOCK.search(env_file.read_text(encoding="utf-8")) if env_file.is_file() else None
    return dict(dotenv_values(stream=io.StringIO(block.group()))) if block else {}


def write_env_file(path: Path, values: Mapping[str, str]) -> None:
    """Put `values` into the `.env` file at `path`, in a block of their own at its end. All other lines stay, and a
    variable set in one of them is left out.
    """
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    theirs = _BLOCK.sub("", text)
    if theirs and not theirs.endswith("\n"):
        theirs += "\n"
    set_by_user = dotenv_values(stream=io.StringIO(theirs))
    ours = "".join(f"{name}={_quoted(value)}\n" for name, value in values.items() if name not in set_by_user)
    _write_if_different(path, f"{theirs}{_BEGIN}\n{ours}{_END}\n")


def _quoted(value: str) -> str:
    if re.fullmatch(r"[\w./:@+-]+", value):
        return value
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _write_if_different(path: Path, text: str) -> None:
    """Replace the file in one step, so that a process that starts meanwhile never reads half of it; its permissions
    stay, for `.env` may hold secrets.
    """
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    if path.exists():
        Path(temporary).chmod(path.stat().st_mode)
    Path(temporary).replace(path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the instance and the `.env` file; returns the exit code of the command."""
    parser = argparse.ArgumentParser(description="Write the local Dagster instance and the .env file that names it.")
    parser.add_argument("--home", type=Path, help="where local state lives; default LAKEHOUSE_HOME")
    parser.add_argument(
        "--env-file", type=Path, default=Path(".env"), help="the file that dagster and the lakehouse command load"
    )
    options = parser.parse_args(arguments)
    try:
        home = options.home or Settings(_env_file=options.env_file).home  # pyright: ignore[reportCallIssue] -- all fields have defaults
        write_env_file(options.env_file, environment(ensure_instance(home)))
    except LakehouseError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
