"""Local folders under names that every engine reads alike.

Sail, delta-rs, DuckDB, SQLite and a statement of the connector each take a path for something else: a URL with escapes,
a pattern, a quoted text, a name with options. A folder whose name has a sign that one of them gives a meaning is
therefore reached through a symbolic link with a plain name. Belongs here: that link. Does not belong here: which
folders there are (`settings.py`).
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from pathlib import Path

from lakehouse_assets.errors import LakehouseError

_UNUSABLE = re.compile(r"[#?\[\]\\]|%[0-9A-Fa-f]{2}")
"""What a link does not help against: delta-rs and DuckDB resolve it, and take `%41` for A, `?` for an option, `[` for
an address, and a backslash for `/`.
"""
_PLAIN = re.compile(r"[A-Za-z0-9._/-]*")


def plain(path: Path | str) -> Path:
    """The folder under a name of ASCII letters, digits, `.`, `_` and `-`: its own absolute path where that is so, else
    a link to it, which is made.

    Every process finds the same link. Raises `LakehouseError` where none can be made, and for a name that no link
    helps.
    """
    folder = Path(path).expanduser().absolute()
    if _PLAIN.fullmatch(str(folder)):
        return folder
    target = Path(os.path.realpath(folder))
    if sign := _UNUSABLE.search(str(target)):
        raise LakehouseError(
            f"The path {target} holds {sign[0]!r}, which delta-rs or DuckDB take for something else; choose another"
            " folder."
        )
    target.mkdir(mode=0o700, parents=True, exist_ok=True)  # nothing can be made through a link that leads nowhere
    link = _links() / hashlib.sha256(os.fsencode(target)).hexdigest()[:16]
    try:
        if not link.is_symlink() or link.readlink() != target:
            made = link.with_suffix(f".{os.getpid()}")
            made.unlink(missing_ok=True)
            made.symlink_to(target)
            made.replace(link)
    except OSError as error:
        raise LakehouseError(
            f"The name of {folder} has signs that engines take for something else, and no link to it could be made in"
            f" {link.parent} ({error.strerror}); use a folder whose path has only letters, digits, dots and dashes."
        ) from error
    return link


def plain_uri(place: str) -> str:
    """A URI as it is, and a local path by `plain`."""
    return place if "://" in place else str(plain(place))


def _links() -> Path:
    """The folder of this user's links: below the home folder, else where temporary files live longest."""
    places = [
        Path.home() / ".cache" / "lakehouse_assets",
        *(Path(p) / f"lakehouse_assets-{os.getuid()}" for p in ("/var/tmp", tempfile.gettempdir())),
    ]
    for folder in places:
        if not _PLAIN.fullmatch(str(folder)):
            continue
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError:
            continue
        stat = folder.lstat()
        # Elsewhere somebody else could have been first, and let the link point to a folder of theirs.
        if (
            stat.st_uid == os.getuid()
            and not folder.is_symlink()
            and not stat.st_mode & 0o022
            and os.access(folder, os.W_OK)
        ):
            return folder
    raise LakehouseError(
        "There is no folder for links with plain names; give LAKEHOUSE_HOME a path of letters, digits, dots and dashes."
    )
