"""Stages: PUT, LIST and REMOVE, and reading staged Parquet where it lies (`FROM @stage/path (FILE_FORMAT => …)`), in
queries and in views.

What belongs here: everything that turns a stage reference into files or into a read of them, with Snowflake's
strictness. What does not: COPY INTO and CREATE STAGE, which are fakesnow's, and sessions.

A view over a stage has to see the files of the moment it is read, with the columns these have, so it cannot be a plain
DuckDB view. It is stored as one that carries the statement it was created by and fails when read as it is; `expand`
replaces every reference to it by the query, and the query's stage references by the files found now.
"""

import base64
import glob
import hashlib
import json
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import fakesnow.transforms.stage
import sqlglot
from duckdb import DuckDBPyConnection
from fakesnow.transforms.file_format import lookup_file_format
from fakesnow.transforms.stage import internal_dir, parts_from_var
from sqlglot import Expr, exp

from lakehouse_assets.embedded_snowflake.errors import compilation_error, does_not_exist


class Context(NamedTuple):
    """What unqualified names are resolved against."""

    database: str | None
    schema: str | None


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
        if _leads_out(prefix):
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


_PLAIN = re.compile(r"[^./\\\0-\x1f\x7f'\"]+")


def _leads_out(path: str) -> bool:
    """Whether a path below a stage could lead out of it, as it is or after any number of decodings."""
    while True:
        if path.startswith("/") or ".." in re.split(r"[/\\]", path) or re.search(r"[\\\0-\x1f\x7f]", path):
            return True
        decoded = unquote(path)
        if decoded == path:
            return False
        path = decoded


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


# --- PUT, LIST, REMOVE
# ----------------------------------------------------------------------------------------------------

_REFERENCE = r"""(?P<reference>'@[^']*'|@\S+)"""
_PUT = re.compile(
    rf"""PUT\s+(?P<source>'file://[^']*'|file://\S+)\s+{_REFERENCE}(?P<options>.*)""", re.IGNORECASE | re.DOTALL
)
_LIST = re.compile(rf"""(?:LIST|LS)\s+{_REFERENCE}(?P<options>.*)""", re.IGNORECASE | re.DOTALL)
_REMOVE = re.compile(rf"""(?:REMOVE|RM)\s+{_REFERENCE}(?P<options>.*)""", re.IGNORECASE | re.DOTALL)
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
    if not file or "/" in file or file == "." or _leads_out(file):
        raise compilation_error(f"{file!a} is no name of a file on a stage")
    return put.target.confined(put.target.directory() / put.target.prefix / file)


def parse_list(text: str, context: Context) -> tuple[StagePath, str | None] | None:
    """Read a LIST statement: which files, and its pattern; None if it is none."""
    return _parse_listing(_LIST, text, context)


def parse_remove(text: str, context: Context) -> tuple[StagePath, str | None] | None:
    """Read a REMOVE statement: which files, and its pattern; None if it is none."""
    return _parse_listing(_REMOVE, text, context)


def _parse_listing(statement: re.Pattern[str], text: str, context: Context) -> tuple[StagePath, str | None] | None:
    if not (match := statement.fullmatch(text)):
        return None
    return StagePath.parse(match["reference"], context), _options(match["options"], {"PATTERN"}).get("PATTERN")


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


def clear(*names: str) -> None:
    """Delete every file on a stage, given database, schema and stage, or on all stages of a schema or database."""
    if not all(re.fullmatch(r"[^./\\\0]+", name) for name in names):
        raise compilation_error(f"no directory holds the stages of {'.'.join(names)}")
    with suppress(FileNotFoundError):
        shutil.rmtree(Path(fakesnow.transforms.stage.LOCAL_BUCKET_PATH, *names))


# --- reading staged Parquet
# ----------------------------------------------------------------------------------------------------


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


_TIMESTAMPS = (
    exp.DataType.Type.TIMESTAMP,
    exp.DataType.Type.TIMESTAMPNTZ,
    exp.DataType.Type.TIMESTAMPTZ,
    exp.DataType.Type.TIMESTAMPLTZ,
)
_FILE_NAME, _FILE_ROW_NUMBER = "METADATA$FILENAME", "METADATA$FILE_ROW_NUMBER"
_VIEW = re.compile(r"stage_view:([A-Za-z0-9+/=]+)")


class Expander:
    """Replaces stage references, and views over them, by reads of the files that are there now."""

    def __init__(self, duck: DuckDBPyConnection, schemas: Schemas) -> None:
        self._duck = duck
        self._schemas = schemas

    def expand(self, expression: Expr, context: Context) -> bool:
        """Rewrite a statement in place. True if it read a stage. Raises ProgrammingError where Snowflake would, or
        would be silently wrong.
        """
        return self._expand(expression, context, depth=0)

    def _expand(self, expression: Expr, context: Context, depth: int) -> bool:
        if depth > 16:
            raise compilation_error("views over a stage refer to each other")
        staged = [table for table in expression.find_all(exp.Table) if _is_stage(table)]
        # Which $1 belongs to which stage is settled before the first of them is replaced.
        scans = [_Scan(table) for table in staged]
        for table, scan in zip(staged, scans, strict=True):
            self._expand_stage(table, scan, context)
        found = bool(staged)
        targets = {id(target) for target in _targets(expression)}
        names = [
            t
            for t in expression.find_all(exp.Table)
            if id(t) not in targets and isinstance(t.this, exp.Identifier) and not _is_cte(t)
        ]
        if names and (views := self._views()):
            for table in names:
                key = _key(table, context)
                if key in views:
                    self._expand_view(table, views[key], depth)
                    found = True
        return found

    def _views(self) -> dict[tuple[str, str, str], dict[str, Any]]:
        rows = self._duck.execute(
            "SELECT database_name, schema_name, view_name, sql FROM duckdb_views() WHERE contains(sql, 'stage_view:')"
        ).fetchall()
        return {
            (database.upper(), schema.upper(), view.upper()): json.loads(base64.b64decode(match[1]))
            for database, schema, view, sql in rows
            if (match := _VIEW.search(sql))
        }

    def _expand_view(self, table: exp.Table, view: dict[str, Any], depth: int) -> None:
        create = sqlglot.parse_one(view["statement"], read="snowflake")
        query, context = create.expression, Context(view["database"], view["schema"])
        qualify(query, context)
        self._expand(query, context, depth + 1)
        columns = [exp.to_identifier(column, quoted=True) for column in view["columns"]]
        alias = table.args.get("alias")
        name = alias.this.copy() if alias else table.this.copy()
        subquery = exp.Subquery(
            this=query, alias=exp.TableAlias(this=name, columns=(alias and alias.args.get("columns")) or columns)
        )
        if joins := table.args.get("joins"):
            subquery.set("joins", joins)
        table.replace(subquery)

    def _expand_stage(self, table: exp.Table, scan: "_Scan", context: Context) -> None:
        path = StagePath.parse(_stage_text(table), context)
        path.check_exists(self._duck)
        options = self._file_format(table, context)
        pattern = table.args.get("pattern")
        files = path.files(pattern.name if pattern else None)
        sql = self._read(files, scan, path.directory(), options)
        # One raw node: the tree walks that follow would otherwise visit every file name dozens of times.
        read = exp.Subquery(this=exp.Var(this=sql), alias=exp.TableAlias(this=scan.alias.copy()))
        if joins := table.args.get("joins"):
            read.set("joins", joins)
        table.replace(read)

    def _file_format(self, table: exp.Table, context: Context) -> dict[str, Any]:
        given = table.args.get("format")
        if given is None:
            raise compilation_error(
                "reading a stage needs a named file format of TYPE = PARQUET: FROM @stage/path (FILE_FORMAT => 'name')."
            )
        name = given.name if isinstance(given, exp.Literal) else given.sql(dialect="snowflake")
        options = lookup_file_format(self._duck, name, context.database, context.schema)
        if options.get("TYPE") != "PARQUET":
            raise compilation_error(
                f"file format {name} is of TYPE = {options.get('TYPE')}; the embedded account reads PARQUET stages in"
                " place."
            )
        return options

    def _read(self, files: Sequence[StagedFile], scan: "_Scan", root: Path, options: dict[str, Any]) -> str:
        groups: dict[tuple[ParquetColumn, ...], list[StagedFile]] = {}
        for file, columns in zip(files, self._schemas.of(self._duck, files), strict=True):
            groups.setdefault(columns, []).append(file)
        return " UNION ALL ".join(
            _read_group(columns, group, scan, root, options) for columns, group in groups.items()
        ) or _read_nothing(scan)


def _read_group(
    columns: tuple[ParquetColumn, ...], files: Sequence[StagedFile], scan: "_Scan", root: Path, options: dict[str, Any]
) -> str:
    by_name = {column.name: column for column in columns}  # exact: $1:col is case-sensitive, DuckDB is not
    projection = []
    for index, key in enumerate(scan.keys):
        if column := by_name.get(key):
            expression = _quote(column.duck_name)
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
    projection.append(f'substr(_staged_file, {prefix}) AS "{_FILE_NAME}"')
    projection.append(f'file_row_number + 1 AS "{_FILE_ROW_NUMBER}"')
    paths = ", ".join(_literal(glob.escape(str(file.path))) for file in files)
    return (
        f"SELECT {', '.join(projection)} FROM read_parquet([{paths}], filename = '_staged_file', file_row_number ="
        " true, hive_partitioning = false)"
    )


def _read_nothing(scan: "_Scan") -> str:
    projection = [f'NULL::VARCHAR AS "{scan.column(index)}"' for index in range(len(scan.keys))]
    projection += [f'NULL::VARCHAR AS "{_FILE_NAME}"', f'NULL::BIGINT AS "{_FILE_ROW_NUMBER}"']
    return f"SELECT {', '.join(projection)} WHERE false"


class _Scan:
    """The references `$1:key` of one stage table, collected and replaced by columns of the read that takes its
    place.
    """

    def __init__(self, table: exp.Table) -> None:
        select = table.find_ancestor(exp.Select)
        if select is None or not any(source is table for source in _sources(select)):
            raise compilation_error("a stage can be read in the FROM of a SELECT only")
        given = table.args.get("alias")
        self.alias: exp.Identifier = given.this if given else exp.to_identifier("STAGED")
        self.keys: list[str] = []
        self._timestamps: set[str] = set()
        if star := next((e for e in select.expressions if e.is_star), None):
            raise compilation_error(
                f"{star.sql()} cannot be selected from a stage on the embedded account: name the columns, $1:name."
            )
        stages = sum(_is_stage(source) for source in _sources(select))
        for parameter in list(select.find_all(exp.Parameter)):
            column = parameter.parent if isinstance(parameter.parent, exp.Column) else parameter
            if parameter.name.isdigit() and _stage_select(parameter) is select and self._owns(column, stages):
                self._replace(parameter, column)
        for column in list(select.find_all(exp.Column)):
            if (
                column.name.upper() in (_FILE_NAME, _FILE_ROW_NUMBER)
                and _stage_select(column) is select
                and self._owns(column, stages)
            ):
                column.replace(
                    exp.column(exp.to_identifier(column.name.upper(), quoted=True), table=column.args.get("table"))
                )

    def _owns(self, column: Expr, stages: int) -> bool:
        qualifier = column.table if isinstance(column, exp.Column) else ""
        if not qualifier and stages > 1:
            raise compilation_error(f"ambiguous column name '{column.sql(dialect='snowflake')}'")
        return not qualifier or qualifier.upper() == self.alias.name.upper()

    def column(self, index: int) -> str:
        """The name of the read's column for the key at an index."""
        return f"_staged_{index}"

    def casts_to_timestamp(self, key: str) -> bool:
        """Whether any reference to the key is cast to a timestamp."""
        return key in self._timestamps

    def _replace(self, parameter: exp.Parameter, column: Expr) -> None:
        if parameter.name != "1":
            raise compilation_error(f"a row of staged Parquet is one value, $1; there is no ${parameter.name}.")
        node = column.parent
        key = _path_key(node) if node is not None and node.this is column else None
        if node is None or key is None:
            raise compilation_error("the embedded account reads top-level columns of staged Parquet only: $1:name.")
        if key not in self.keys:
            self.keys.append(key)
        read = exp.column(
            exp.to_identifier(self.column(self.keys.index(key)), quoted=True),
            table=self.alias.copy() if column is not parameter else None,
        )
        cast = node.parent
        if isinstance(cast, exp.Cast):
            if cast.to.this in _TIMESTAMPS:
                self._timestamps.add(key)
            node.replace(read)
        else:
            node.replace(exp.Anonymous(this="TO_JSON", expressions=[read]))  # an uncast reference is a VARIANT


def _path_key(node: Expr) -> str | None:
    if isinstance(node, exp.JSONExtract) and isinstance(node.expression, exp.JSONPath):
        parts = node.expression.expressions
        if len(parts) == 2 and isinstance(parts[1], exp.JSONPathKey) and isinstance(parts[1].this, str):
            return parts[1].this
    if isinstance(node, exp.Bracket) and len(node.expressions) == 1 and node.expressions[0].is_string:
        return node.expressions[0].name
    return None


def _stage_text(table: exp.Table) -> str:
    return table.this.name if isinstance(table.this, (exp.Var, exp.Literal)) else ""


def _is_stage(table: Expr) -> bool:
    return isinstance(table, exp.Table) and _stage_text(table).lstrip("'").startswith("@")


def check_sources(expression: Expr, context: Context) -> None:
    """Raise ProgrammingError where a statement reads from a stage what does not lie on it."""
    for table in expression.find_all(exp.Table):
        if _is_stage(table):
            StagePath.parse(_stage_text(table), context).folder()


def without_stages(expression: Expr) -> Expr:
    """A copy with an ordinary, fully qualified table for every stage: what decides whether the other names need a
    current database and schema.
    """
    expression = expression.copy()
    for table in expression.find_all(exp.Table):
        if _is_stage(table):
            table.replace(exp.table_("STAGED", db="STAGED", catalog="STAGED"))
    return expression


def _sources(select: exp.Select) -> Iterator[Expr]:
    if source := select.args.get("from_"):
        yield source.this
    for join in select.args.get("joins") or []:
        yield join.this


def _stage_select(node: Expr) -> exp.Select | None:
    """The nearest enclosing SELECT that reads a stage directly."""
    select = node.find_ancestor(exp.Select)
    while select is not None and not any(_is_stage(source) for source in _sources(select)):
        select = select.find_ancestor(exp.Select)
    return select


def _is_cte(table: exp.Table) -> bool:
    if table.db:
        return False
    scope: Expr | None = table
    while scope is not None:
        with_ = scope.args.get("with_")
        if with_ and any(cte.alias.upper() == table.name.upper() for cte in with_.expressions):
            return True
        scope = scope.parent
    return False


def _targets(expression: Expr) -> Iterable[exp.Table]:
    """The tables that a statement writes, creates, alters or describes, as against those it reads."""
    if isinstance(expression, (exp.Select, exp.SetOperation, exp.Subquery)):
        return []
    if not isinstance(expression, (exp.Insert, exp.Update, exp.Delete, exp.Merge, exp.Create)):
        return expression.find_all(exp.Table)
    target = expression.this
    return [target.this if isinstance(target, exp.Schema) else target]


def _key(table: exp.Table, context: Context) -> tuple[str, str, str]:
    return (
        (table.catalog or context.database or "").upper(),
        (table.db or context.schema or "").upper(),
        table.name.upper(),
    )


def qualify(query: Expr, context: Context) -> None:
    """Write the context's database and schema into every unqualified table, stage and file format of a query, in
    place.
    """
    for table in query.find_all(exp.Table):
        if _is_stage(table):
            table.set("this", exp.Var(this=StagePath.parse(_stage_text(table), context).reference()))
            given = table.args.get("format")
            if given is not None:
                name = given.name if isinstance(given, exp.Literal) else given.sql(dialect="snowflake")
                table.set(
                    "format",
                    exp.Literal.string(
                        ".".join(_quote(part) for part in parts_from_var(name, context.database, context.schema))
                    ),
                )
        elif isinstance(table.this, exp.Identifier) and not _is_cte(table):
            if not table.db and context.schema:
                table.set("db", exp.to_identifier(context.schema, quoted=True))
            if not table.catalog and context.database:
                table.set("catalog", exp.to_identifier(context.database, quoted=True))


def stored_view(
    statement: str, context: Context, target: str, columns: Sequence[tuple[str, str]], replace: bool
) -> str:
    """The DuckDB view that stands for a view over a stage: its columns and their types, and an error for whoever reads
    it unexpanded.
    """
    definition = {
        "statement": statement,
        "database": context.database,
        "schema": context.schema,
        "columns": [name for name, _ in columns],
    }
    encoded = base64.b64encode(json.dumps(definition).encode()).decode()
    projection = ", ".join(f"CAST(NULL AS {type_}) AS {_quote(name)}" for name, type_ in columns)
    return (
        f"CREATE {'OR REPLACE ' if replace else ''}VIEW {target} AS SELECT {projection} FROM (SELECT"
        f" error('stage_view:{encoded}') AS definition) WHERE definition IS NOT NULL"
    )


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
