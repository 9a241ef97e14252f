"""A stage and a path on it, and the files that this means.

What belongs here: reading a stage reference, keeping it inside the stage, finding and clearing its files. What does
not: statements about files (`file_statements.py`) and what is in a file (`parquet.py`).
"""

import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

import fakesnow.transforms.stage
from duckdb import DuckDBPyConnection
from fakesnow.transforms.stage import internal_dir, parts_from_var

from lakehouse_assets.embedded_snowflake.errors import compilation_error, does_not_exist
from lakehouse_assets.embedded_snowflake.names import Context

_PLAIN = re.compile(r"[^./\\\0-\x1f\x7f'\"]+")


class StagedFile(NamedTuple):
    """A file on a stage: its name below the stage and where it lies."""

    name: str
    path: Path


@dataclass(frozen=True)
class StagePath:
    """A stage and a prefix of the names of files on it."""

    database: str
    schema: str
    stage: str
    prefix: str

    @classmethod
    def parse(cls, reference: str, context: Context) -> "StagePath":
        """Read `@db.schema.stage/path`, quoted as a whole or not. Raises ProgrammingError when it is no stage
        reference.
        """
        text = reference.strip()
        if len(text) > 1 and text[0] == text[-1] == "'":
            text = text[1:-1]
        if not text.startswith("@"):
            raise compilation_error(f"{text} does not start with @")
        name, _, prefix = text[1:].partition("/")
        if name.startswith(("~", "%")):
            raise compilation_error(f"the embedded account has named stages only, not {text}")
        if leads_out(prefix):
            raise compilation_error(f"{text!a} leads out of the stage")
        missing = 3 - len(name.split("."))
        if (missing > 0 and not context.schema) or (missing > 1 and not context.database):
            raise compilation_error(f"Cannot resolve stage {name}: the session has no current database and schema.")
        if missing < 0:
            raise compilation_error(f"{text!a} is no name of a stage: write @database.schema.stage/path")
        database, schema, stage = parts_from_var(name, context.database, context.schema)
        if not all(_PLAIN.fullmatch(part) for part in (database, schema, stage)):
            raise compilation_error(f"{text!a} is no name of a stage that a directory can have")
        return cls(database, schema, stage, prefix)

    @property
    def qualified(self) -> str:
        """DATABASE.SCHEMA.STAGE."""
        return f"{self.database}.{self.schema}.{self.stage}"

    def reference(self) -> str:
        """The fully qualified reference, as SQL writes it."""
        parts = ".".join(
            f'"{part}"' if not re.fullmatch(r"[A-Z_][A-Z0-9_$]*", part) else part
            for part in (self.database, self.schema, self.stage)
        )
        return f"@{parts}/{self.prefix}"

    def directory(self) -> Path:
        """The folder that holds the stage's files."""
        return self.confined(Path(internal_dir(self.qualified)))

    def folder(self) -> Path:
        """The folder on the stage that the prefix leads to. Raises ProgrammingError where a link leads elsewhere."""
        return self.confined(self.directory() / self.prefix.rpartition("/")[0])

    def confined(self, path: Path) -> Path:
        """The path, which must lie in the stage's folder whatever links it goes through. Raises ProgrammingError where
        it does not.
        """
        stages = Path(fakesnow.transforms.stage.LOCAL_BUCKET_PATH)
        root = stages.resolve().joinpath(self.database, self.schema, self.stage)
        if not path.resolve().is_relative_to(root):
            raise compilation_error(f"{path.name!a} leads out of stage {self.qualified}")
        return path

    def check_exists(self, duck: DuckDBPyConnection) -> None:
        """Raise ProgrammingError unless CREATE STAGE has been executed for it."""
        found = duck.execute(
            "SELECT url FROM _fs_global._fs_information_schema._fs_stages WHERE database_name = ? AND schema_name = ?"
            " AND name = ?",
            [self.database, self.schema, self.stage],
        ).fetchone()
        if not found:
            raise does_not_exist("Stage", self.qualified)
        if found[0]:
            raise compilation_error(
                f"Stage '{self.qualified}' is an external one; the embedded account reads internal stages only."
            )

    def files(self, pattern: str | None = None) -> list[StagedFile]:
        """The files whose name begins with the prefix and, if given, matches the regular expression as a whole; by
        name.
        """
        root = self.directory()
        matches = re.compile(pattern).fullmatch if pattern else None
        found = []
        # Only the folder part of the prefix is walked: a stage keeps the files of many hand-offs.
        for path in _walk(self.folder()):
            name = self.confined(path).relative_to(root).as_posix()
            if name.startswith(self.prefix) and (matches is None or matches(name)):
                found.append(StagedFile(name, path))
        return sorted(found)


def leads_out(path: str) -> bool:
    """Whether a path below a stage could lead out of it, as it is or after any number of decodings."""
    while True:
        if path.startswith("/") or ".." in re.split(r"[/\\]", path) or re.search(r"[\\\0-\x1f\x7f]", path):
            return True
        decoded = unquote(path)
        if decoded == path:
            return False
        path = decoded


def clear_stages(*names: str) -> None:
    """Delete every file on a stage, given database, schema and stage, or on all stages of a schema or database."""
    if not all(re.fullmatch(r"[^./\\\0]+", name) for name in names):
        raise compilation_error(f"no directory holds the stages of {'.'.join(names)}")
    with suppress(FileNotFoundError):
        shutil.rmtree(Path(fakesnow.transforms.stage.LOCAL_BUCKET_PATH, *names))


def _walk(folder: Path) -> Iterator[Path]:
    try:
        entries = list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        if entry.is_dir():
            yield from _walk(entry)
        else:
            yield entry
