"""From the bytes of a drop to lines of text and CSV records: gzip, line ends, encoding and quotes. Knows no source and
no column name.

A line ends with LF, CRLF or CR. The encoding is UTF-8, with or without a byte order mark; nothing else is guessed. A
line that is bad does not touch its neighbours. What is too long or too wide to be data is said to be so, and does not
take memory beyond that of the drop.

How quotes are read: a field that begins with a quote ends with the next quote that is not doubled, and then comes a
comma or the end of the record. A quote inside a field that does not begin with one is plain text. A quoted field may
run over several lines, if it closes within 100 lines, the record then has as many fields as the header, and none of the
lines it runs over has just the commas of a whole record. In every other case the quote counts as opened by mistake:
that one line is bad (`row.open_quote`), and reading goes on with the next line.
"""

import re
import unicodedata
import zlib
from collections.abc import Iterator
from typing import Final, NamedTuple

from lakehouse_assets.core.sources.formats import is_json, not_json_lines, other_format
from lakehouse_assets.core.sources.rows import DropProblem

CSV, JSON_LINES = "CSV", "JSON lines, one object a line"
"""The formats of sources, as messages name them."""

MAX_UNPACKED_MB: Final = 512
"""A drop may be so large, in MB, without gzip. It is read whole, and reading it takes some times as much memory."""

MAX_LINE_MB: Final = 16
"""A line, and a record over several lines, may be so long, in MB."""

MAX_LINES: Final = 10_000_000
MAX_COLUMNS: Final = 1_000
"""A drop may have so many lines, a header so many columns, a JSON object so many keys."""

_LONGEST: Final = MAX_LINE_MB * 1_000_000
_SHOWN: Final = 1_000
_OTHER_SEPARATORS: Final = {";": "semicolons", "\t": "tabs", "|": "bars"}
_GZIP: Final = b"\x1f\x8b"
BYTE_ORDER_MARK: Final = "\ufeff".encode()
_MAX_LINES_PER_RECORD: Final = 100
_QUOTED: Final = re.compile(r'"((?:[^"]++|"")*+)"')
_OPEN: Final = (
    "A quote is opened and not closed where the field can end; close it, or double it if it is part of the text."
)
_AFTER_QUOTE: Final = "Text follows a closing quote; a quote that is part of the text has to be doubled."


class BadLine(Exception):
    """A line that cannot be read: the rule it breaks, one sentence for the person who must fix it, and its text."""

    def __init__(self, rule: str, detail: str, raw: str):
        super().__init__(detail)
        self.rule = rule
        self.detail = detail
        self.raw = raw


class Unpacked(NamedTuple):
    """The bytes of a drop without compression; `remainder` is what follows the last complete line when the gzip stream
    ends early, else None.
    """

    body: bytes
    remainder: bytes | None


def drop_body(content: bytes, wanted: str) -> Unpacked:
    """The text of a drop without gzip and byte order mark. wanted: the format of its source, for the message.

    Raises `DropProblem` (`drop.unreadable`) where `unpack` does, for a file of another format, which is named, and for
    one of too many lines.
    """
    unpacked = unpack(content)
    other = other_format(unpacked.body) or (is_json(unpacked.body) if wanted == CSV else not_json_lines(unpacked.body))
    if other:
        raise DropProblem("drop.unreadable", f"The drop is {other}; send it as {wanted}, encoded as UTF-8.")
    body = unpacked.body
    if body.count(b"\n") + body.count(b"\r") - body.count(b"\r\n") > MAX_LINES:
        raise DropProblem("drop.unreadable", f"The drop holds more than {MAX_LINES:,} lines; send it in several drops.")
    return unpacked


def unpack(content: bytes) -> Unpacked:
    """Take the gzip off, if there is any (recognised by the first two bytes, not by a name), and the byte order marks.

    Raises `DropProblem` (`drop.unreadable`) when the gzip stream is damaged, holds no complete line before it ends
    early, or the drop is empty.
    """
    truncated = False
    if content.startswith(_GZIP):
        content, truncated = _gunzip(content)
    body, remainder = content, None
    while body.startswith(BYTE_ORDER_MARK):  # joining files that have one leaves several
        body = body.removeprefix(BYTE_ORDER_MARK)
    if truncated:
        complete = max(body.rfind(b"\n"), body.rfind(b"\r")) + 1
        body, remainder = body[:complete], body[complete:]
    if not body.strip():
        reason = "breaks off before its first line ends" if truncated else "is empty"
        raise DropProblem("drop.unreadable", f"The drop {reason}; send it again.")
    return Unpacked(body, remainder)


def _gunzip(content: bytes) -> tuple[bytes, bool]:
    """The decompressed bytes of all members of a gzip stream, and whether the stream ends early."""
    parts: list[bytes] = []
    rest, left = content, MAX_UNPACKED_MB * 1_000_000
    while rest:
        if not rest.startswith(_GZIP[: len(rest)]):
            raise DropProblem("drop.unreadable", "Other bytes follow the end of the gzip stream; send the drop again.")
        member = zlib.decompressobj(wbits=31)
        try:
            # A few kilobytes may unpack to any size, so that no more is unpacked than a drop may hold.
            parts.append(member.decompress(rest, left + 1))
        except zlib.error as error:
            raise DropProblem(
                "drop.unreadable", "The drop begins like a gzip file but its content is damaged; send it again."
            ) from error
        left -= len(parts[-1])
        if left < 0:
            raise DropProblem(
                "drop.unreadable",
                f"The drop holds more than {MAX_UNPACKED_MB} MB without gzip; send it in several drops.",
            )
        if not member.eof:
            return b"".join(parts), True
        rest = member.unused_data.lstrip(b"\0")  # some tools pad a stream to a full block
    return b"".join(parts), False


def as_text(line: bytes) -> str:
    """The text of a line (with or without its end); raises `BadLine` (`row.long`, `row.nul`, `row.encoding`) where it
    is too long or not UTF-8 text.
    """
    if len(line) > _LONGEST:
        detail = (
            f"The line is {len(line) / 1e6:.1f} MB long, more than {MAX_LINE_MB} MB, and only its beginning is kept;"
            " fix the drop and send it again."
        )
        raise BadLine("row.long", detail, f"{readable(line[:_SHOWN])}…")
    if b"\0" in line:
        raise BadLine("row.nul", "The line holds a NUL byte; remove it.", readable(line))
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        detail = (
            f"The line is not UTF-8 (byte {line[error.start]:#04x} after {error.start} bytes); send the drop encoded as"
            " UTF-8."
        )
        raise BadLine("row.encoding", detail, readable(line)) from error


def has_long_line(body: bytes) -> bool:
    """Whether a line is longer than a line may be."""
    at = 0
    while len(body) - at > _LONGEST:
        end = body.rfind(b"\n", at, at + _LONGEST + 1)
        if end < 0:
            return True
        at = end + 1
    return False


def readable(line: bytes) -> str:
    """A line as text whatever its bytes are, without its end; bytes that are not UTF-8, and NUL, are written as
    \\xNN.
    """
    return line.rstrip(b"\r\n").decode(errors="backslashreplace").replace("\0", "\\x00")


def truncated_line(remainder: bytes) -> BadLine:
    """The row in place of the lost end of a drop whose gzip stream breaks off."""
    return BadLine(
        "row.truncated",
        "The gzip stream breaks off here, all that followed is lost; send the drop again.",
        readable(remainder),
    )


def split_fields(text: str) -> list[str] | None:
    """The fields of a CSV record; None where a quoted field is still open at the end. Raises `BadLine` for text behind
    a closing quote.
    """
    if '"' not in text:
        return text.split(",")
    fields: list[str] = []
    at = 0
    while True:
        if text.startswith('"', at):
            quoted = _QUOTED.match(text, at)
            if quoted is None:
                return None
            fields.append(quoted[1].replace('""', '"'))
            end = quoted.end()
            if end < len(text) and text[end] != ",":
                raise BadLine("row.open_quote", _AFTER_QUOTE, text)
        else:
            end = text.find(",", at)
            end = len(text) if end < 0 else end
            fields.append(text[at:end])
        if end == len(text):
            return fields
        at = end + 1


def split_header(body: bytes) -> tuple[list[str], bytes]:
    """The names in the header of a CSV drop, stripped of blanks, and the bytes after it. Raises `DropProblem` where
    there is no readable header, or one of too many columns.
    """
    first = re.match(rb"[ \t\r\n]*+([^\r\n]*+)(?:\r\n|\n|\r|$)", body)
    assert first is not None  # every part of the pattern may be empty
    try:
        names = split_fields(as_text(first[1]))
    except BadLine as problem:
        if problem.rule == "row.long":
            raise DropProblem(
                "drop.unreadable",
                f"The first line is longer than {MAX_LINE_MB} MB and cannot be a header; send the drop as CSV.",
            ) from problem
        raise DropProblem(
            "drop.unreadable", "The first line is not a header of UTF-8 text; send the drop as CSV, encoded as UTF-8."
        ) from problem
    if names is None:
        raise DropProblem("drop.unreadable", "The header opens a quote and does not close it; fix the header.")
    if len(names) == 1 and (sign := next((s for s in _OTHER_SEPARATORS if s in names[0]), None)):
        raise DropProblem(
            "drop.unreadable",
            f"The header separates its columns by {_OTHER_SEPARATORS[sign]}; send the drop with commas between them,"
            " and a point in numbers.",
        )
    if len(names) > MAX_COLUMNS:
        raise DropProblem(
            "drop.unreadable",
            f"The header names {len(names):,} columns, more than {MAX_COLUMNS:,}; send the drop with the columns of its"
            " source.",
        )
    return [visible(name) for name in names], body[first.end() :]


def visible(name: str) -> str:
    """A column name without what nobody sees: format characters such as U+200B and U+FEFF go, every blank is a space,
    and none is at either end.
    """
    shown = (" " if unicodedata.category(c) == "Zs" else c for c in name if unicodedata.category(c) != "Cf")
    return "".join(shown).strip()


def csv_records(body: bytes, width: int) -> Iterator[list[str] | BadLine]:
    """The records of a CSV body (without its header), each as `width` fields or as the line that cannot be read. Lines
    without text at the end count for nothing.
    """
    lines = body.splitlines(keepends=True)
    while lines and not lines[-1].strip():
        lines.pop()
    at = 0
    while at < len(lines):
        line, at = lines[at].rstrip(b"\r\n"), at + 1
        try:
            text = as_text(line)
            fields = split_fields(text)
            if fields is None:
                fields, at = _over_several_lines(lines, at, width)
            elif len(fields) != width:
                raise BadLine(
                    "row.ragged", f"The number of fields is {len(fields)} where the header names {width}.", text
                )
        except BadLine as problem:
            yield problem
        else:
            yield fields


def _over_several_lines(lines: list[bytes], at: int, width: int) -> tuple[list[str], int]:
    """The record that begins on the line before `at` and goes on, with the number of the line after it; raises
    `BadLine` where the quote is open by mistake.
    """
    opened = BadLine("row.open_quote", _OPEN, readable(lines[at - 1]))
    text = as_text(lines[at - 1])
    for following in range(at, min(at + _MAX_LINES_PER_RECORD - 1, len(lines))):
        line = lines[following].rstrip(b"\r\n")
        if line.count(b",") == width - 1 or len(text) + len(line) > _LONGEST:
            break
        try:
            fields = split_fields(text + as_text(line))
            text += as_text(lines[following])
        except BadLine:
            break
        if fields is not None:
            if len(fields) == width:
                return fields, following + 1
            break
    raise opened
