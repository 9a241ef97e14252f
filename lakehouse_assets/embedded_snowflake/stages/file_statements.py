"""PUT, LIST and REMOVE: the statements about the files of a stage.

What belongs here: reading these statements, and what LIST and REMOVE do. What does not: the transfer that a PUT asks
for (`protocol/uploads.py`).
"""

import hashlib
import re
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from lakehouse_assets.embedded_snowflake.errors import compilation_error
from lakehouse_assets.embedded_snowflake.names import Context
from lakehouse_assets.embedded_snowflake.stages.paths import StagePath, leads_out

_REFERENCE = r"""(?P<reference>'@[^']*'|@\S+)"""
_PUT = re.compile(
    rf"""PUT\s+(?P<source>'file://[^']*'|file://\S+)\s+{_REFERENCE}(?P<options>.*)""", re.IGNORECASE | re.DOTALL
)
_LISTING = re.compile(
    rf"""(?:LIST|LS|(?P<remove>REMOVE|RM))\s+{_REFERENCE}(?P<options>.*)""", re.IGNORECASE | re.DOTALL
)
_OPTION = re.compile(r"""\s*(\w+)\s*=\s*('(?:[^']|'')*'|[\w.]+)""")


class Put(NamedTuple):
    """A PUT statement: local files (a path, maybe with wildcards), where to, and the options the client needs to
    know.
    """

    source: str
    target: StagePath
    overwrite: bool
    auto_compress: bool
    parallel: int


def parse_put(text: str, context: Context) -> Put | None:
    """Read a PUT statement; None if it is none. Parsed here because `/*` in an unquoted path begins a comment for a SQL
    parser.
    """
    if not re.match(r"PUT\b", text, re.IGNORECASE):
        return None
    if not (match := _PUT.fullmatch(text)):
        raise compilation_error(f"cannot read this PUT: {text}")
    options = _options(match["options"], {"PARALLEL", "AUTO_COMPRESS", "SOURCE_COMPRESSION", "OVERWRITE"})
    return Put(
        source=match["source"].strip("'").removeprefix("file://"),
        target=StagePath.parse(match["reference"], context),
        overwrite=options.get("OVERWRITE", "FALSE").upper() == "TRUE",
        auto_compress=options.get("AUTO_COMPRESS", "TRUE").upper() == "TRUE",
        parallel=int(options.get("PARALLEL", "4")),
    )


def upload_target(put: Put, name: str) -> Path:
    """Where the file of a PUT goes. `name`: its name as the last part of the address says it. Raises ProgrammingError
    where that is no file of the stage.
    """
    file = unquote(name)
    if not file or "/" in file or file == "." or leads_out(file):
        raise compilation_error(f"{file!a} is no name of a file on a stage")
    return put.target.confined(put.target.directory() / put.target.prefix / file)


def parse_listing(text: str, context: Context) -> tuple[bool, StagePath, str | None] | None:
    """Read a LIST or REMOVE statement: whether it removes, which files, and its pattern; None if it is neither."""
    if not (match := _LISTING.fullmatch(text)):
        return None
    path = StagePath.parse(match["reference"], context)
    return bool(match["remove"]), path, _options(match["options"], {"PATTERN"}).get("PATTERN")


def _options(text: str, known: set[str]) -> dict[str, str]:
    options: dict[str, str] = {}
    position = 0
    while text[position:].strip():
        match = _OPTION.match(text, position)
        if not match or match[1].upper() not in known:
            raise compilation_error(f"syntax error unexpected '{text[position:].strip()}'.")
        options[match[1].upper()] = match[2][1:-1].replace("''", "'") if match[2].startswith("'") else match[2]
        position = match.end()
    return options


class Listing:
    """LIST, with the digests of files remembered: a staged file is large and never changes under its name, size and
    time.
    """

    def __init__(self) -> None:
        self._digests: dict[tuple[str, int, int], str] = {}

    def rows(self, path: StagePath, pattern: str | None) -> list[tuple[str, int, str, str]]:
        """Name, size in bytes, md5 and time of last change of each file, by name."""
        rows = []
        for file in path.files(pattern):
            try:
                status = file.path.stat()
                key = (str(file.path), status.st_size, status.st_mtime_ns)
                if key not in self._digests:
                    with file.path.open("rb") as content:
                        self._digests[key] = hashlib.file_digest(content, "md5").hexdigest()
            except FileNotFoundError:
                continue  # removed meanwhile by another session
            modified = format_datetime(datetime.fromtimestamp(status.st_mtime, UTC), usegmt=True)
            rows.append((f"{path.stage.lower()}/{file.name}", status.st_size, self._digests[key], modified))
        return rows


def remove(path: StagePath, pattern: str | None) -> list[tuple[str, str]]:
    """Delete files from a stage, and the folders that this leaves empty. Name and result of each."""
    rows = []
    root = path.directory()
    for file in path.files(pattern):
        file.path.unlink(missing_ok=True)
        rows.append((f"{path.stage.lower()}/{file.name}", "removed"))
        for folder in file.path.parents:
            if folder == root or not folder.is_relative_to(root) or any(folder.iterdir()):
                break
            folder.rmdir()
    return rows
