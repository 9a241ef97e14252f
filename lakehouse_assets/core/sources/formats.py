"""What a file is that is no drop of its source: HTML, a spreadsheet, UTF-16, YAML and the like, each called by its
name.

Belongs here: recognising other formats by their first bytes. Does not belong here: reading any of them.
"""

from __future__ import annotations

import re
from typing import Final

_LOOKED_AT: Final = 4096
"""So many bytes are looked at."""

_SIGNATURES: Final = (
    (b"PAR1", "a Parquet file"),
    (b"%PDF", "a PDF document"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook or other Office file"),
    (b"SQLite format 3\0", "an SQLite database"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd"),
    (b"BZh", "compressed with bzip2"),
    (b"\xfd7zXZ", "compressed with xz"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"\x1f\x8b", "compressed with gzip twice"),
    (b"Obj\x01", "an Avro file"),
    (b"ORC", "an ORC file"),
    (b"ARROW1", "an Arrow file"),
    (b"{\\rtf", "a document (RTF)"),
    (b"version https://git-lfs", "a pointer of Git LFS, without the content"),
    (b"\xff\xfe\0\0", "encoded as UTF-32"),
    (b"\0\0\xfe\xff", "encoded as UTF-32"),
    (b"\xff\xfe", "encoded as UTF-16"),
    (b"\xfe\xff", "encoded as UTF-16"),
)
_HTML: Final = re.compile(
    rb"\s*(<!--.*?-->\s*)*<(!doctype\s+html|html|head|body|title|h1|p|div)\b", re.IGNORECASE | re.DOTALL
)
_XML: Final = re.compile(rb"\s*<(\?xml|[a-z_][\w.:-]*[\s/>])", re.IGNORECASE)
_YAML_LINE: Final = re.compile(rb"\s*(- )?[A-Za-z_][\w -]{0,60}:(\s[^,]*)?$|\s*-(\s[^,]*)?$|\s*#.*$")
_JSON: Final = re.compile(rb'\s*(\[\s*([\]\[{"0-9-]|true|false|null)|\{\s*["}])')
_INI: Final = re.compile(rb"\s*\[[A-Za-z_][^\]\[{}\",\r\n]*\]\s*[\r\n]")
_CSV_LINE: Final = re.compile(rb'("[^"\r\n]*"|[\w .-]+)([,;\t]("[^"\r\n]*"|[^,;\t\r\n]*)){1,}\s*$')


def other_format(body: bytes) -> str | None:
    """What the bytes of a drop (without gzip) are instead of text in lines, as the end of "The drop is …"; None where
    they may be such text.
    """
    head = body[:_LOOKED_AT]
    if head.startswith(b"PK\x03\x04"):
        return "an Excel workbook (XLSX)" if b"xl/" in body or b"[Content_Types].xml" in head else "a ZIP archive"
    for signature, name in _SIGNATURES:
        if head.startswith(signature):
            return name
    if head[257:262] == b"ustar":
        return "a TAR archive"
    start = head[:64]
    if len(start) >= 8 and 3 * start.count(b"\0") >= len(start) and (not any(start[0::2]) or not any(start[1::2])):
        return "encoded as UTF-16"
    if _HTML.match(head):
        return "an HTML page"
    if _XML.match(head):
        return "XML"
    lines = [line for line in head.splitlines() if line.strip()][:5]
    if head.startswith(b"%YAML") or (head.startswith(b"---") and lines[0].strip() == b"---"):
        return "YAML"
    if len(lines) >= 2 and all(_YAML_LINE.match(line) for line in lines) and any(b":" in line for line in lines):
        return "YAML"
    if _INI.match(head):
        return "settings (INI or TOML)"
    return None


def is_json(body: bytes) -> str | None:
    """Which JSON the bytes begin as, where CSV is wanted; None where they do not."""
    if _JSON.match(body):
        return "a JSON array" if body.lstrip()[:1] == b"[" else "JSON"
    return None


def not_json_lines(body: bytes) -> str | None:
    """What the bytes are instead of JSON lines, where they begin as one array, one object over several lines, or CSV;
    None where they do not.
    """
    text = body.lstrip()
    if text[:1] == b"[":
        return "one JSON array"
    first = text.splitlines()[0].strip() if text else b""
    if first == b"{":
        return "one JSON object over several lines"
    if first[:1] not in (b"{", b'"') and _CSV_LINE.match(first):
        return "CSV"
    return None
