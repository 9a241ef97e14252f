"""What is in the Parquet files of a stage, and the SQL that reads it.

What belongs here: the columns of files, and the read of files that takes a stage's place in a query. What does not:
which files (`paths.py`) and which of their columns a query names (`scan.py`).
"""

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from duckdb import DuckDBPyConnection

from lakehouse_assets.embedded_snowflake.errors import compilation_error
from lakehouse_assets.embedded_snowflake.names import literal, quote
from lakehouse_assets.embedded_snowflake.stages.paths import StagedFile
from lakehouse_assets.embedded_snowflake.stages.scan import FILE_NAME, FILE_ROW_NUMBER, Scan


class ParquetColumn(NamedTuple):
    """A top-level column of a staged file: its exact name, DuckDB's name and type for it, and what the file says about
    it.
    """

    name: str
    duck_name: str
    duck_type: str
    timestamp: bool
    raw_binary: bool


class Schemas:
    """The columns of staged files, remembered by path, size and time."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int, int], tuple[ParquetColumn, ...]] = {}

    def of(self, duck: DuckDBPyConnection, files: Sequence[StagedFile]) -> list[tuple[ParquetColumn, ...]]:
        """The columns of each file. Raises duckdb.Error for one that is no Parquet file."""
        return [self._columns(duck, file.path) for file in files]

    def _columns(self, duck: DuckDBPyConnection, path: Path) -> tuple[ParquetColumn, ...]:
        status = path.stat()
        key = (str(path), status.st_size, status.st_mtime_ns)
        if key not in self._known:
            with duck.cursor() as reader:
                escaped = glob.escape(str(path))
                top_level = _top_level(
                    reader.execute(
                        "SELECT name, num_children, type, converted_type, logical_type FROM parquet_schema(?)",
                        [escaped],
                    ).fetchall()
                )
                described = reader.execute(
                    "DESCRIBE SELECT * FROM read_parquet(?, hive_partitioning = false)", [escaped]
                ).fetchall()
            self._known[key] = tuple(
                ParquetColumn(
                    name=name,
                    duck_name=duck_name,
                    duck_type=duck_type,
                    timestamp=(logical or "").startswith("TimestampType"),
                    raw_binary=physical == "BYTE_ARRAY" and not converted and not logical,
                )
                for (name, _, physical, converted, logical), (duck_name, duck_type, *_) in zip(
                    top_level, described, strict=True
                )
            )
        return self._known[key]


def _top_level(elements: Sequence[tuple]) -> list[tuple]:
    """The root's direct children in the depth-first list of schema elements that a Parquet footer holds."""

    def skip(position: int) -> int:
        position, children = position + 1, elements[position][1] or 0
        for _ in range(children):
            position = skip(position)
        return position

    found, position = [], 1
    while position < len(elements):
        found.append(elements[position])
        position = skip(position)
    return found


def read(
    files: Sequence[StagedFile],
    schemas: Sequence[tuple[ParquetColumn, ...]],
    scan: Scan,
    root: Path,
    options: dict[str, Any],
) -> str:
    """The query that gives a scan its rows: one read for all files with the same columns. `options` are those of the
    file format. Raises ProgrammingError for a timestamp that the file format does not read.
    """
    groups: dict[tuple[ParquetColumn, ...], list[StagedFile]] = {}
    for file, columns in zip(files, schemas, strict=True):
        groups.setdefault(columns, []).append(file)
    reads = [_read_group(columns, group, scan, root, options) for columns, group in groups.items()]
    return " UNION ALL ".join(reads) or _read_nothing(scan)


def _read_group(
    columns: tuple[ParquetColumn, ...], files: Sequence[StagedFile], scan: Scan, root: Path, options: dict[str, Any]
) -> str:
    by_name = {column.name: column for column in columns}  # exact: $1:col is case-sensitive, DuckDB is not
    projection = []
    for index, key in enumerate(scan.keys):
        if column := by_name.get(key):
            expression = quote(column.duck_name)
            if column.timestamp and not options.get("USE_LOGICAL_TYPE"):
                if scan.casts_to_timestamp(key):
                    raise compilation_error(
                        f"Invalid date: column {key} of {files[0].name} is a Parquet timestamp, and the file format"
                        " lacks USE_LOGICAL_TYPE = TRUE.",
                        errno=100035,
                        sqlstate="22007",
                    )
                expression = f"epoch_us({expression})"
            if column.raw_binary and options.get("BINARY_AS_TEXT", True):
                expression = f"decode({expression})"
        else:
            expression = "NULL::VARCHAR"
        projection.append(f'{expression} AS "{scan.column(index)}"')
    prefix = len(str(root).rstrip("/")) + 2
    projection.append(f'substr(_staged_file, {prefix}) AS "{FILE_NAME}"')
    projection.append(f'file_row_number + 1 AS "{FILE_ROW_NUMBER}"')
    paths = ", ".join(literal(glob.escape(str(file.path))) for file in files)
    return (
        f"SELECT {', '.join(projection)} FROM read_parquet([{paths}], filename = '_staged_file', file_row_number ="
        " true, hive_partitioning = false)"
    )


def _read_nothing(scan: Scan) -> str:
    projection = [f'NULL::VARCHAR AS "{scan.column(index)}"' for index in range(len(scan.keys))]
    projection += [f'NULL::VARCHAR AS "{FILE_NAME}"', f'NULL::BIGINT AS "{FILE_ROW_NUMBER}"']
    return f"SELECT {', '.join(projection)} WHERE false"
