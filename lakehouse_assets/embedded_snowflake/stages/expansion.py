"""Putting reads of staged files into a statement: in place of its stages, and of its views over a stage.

What belongs here: walking a statement, and what each reference becomes. What does not: how the files of one stage are
read (`parquet.py`) and how a view over a stage is stored (`views.py`).
"""

from typing import Any

import sqlglot
from duckdb import DuckDBPyConnection
from fakesnow.transforms.file_format import lookup_file_format
from sqlglot import Expr, exp

from lakehouse_assets.embedded_snowflake.errors import compilation_error
from lakehouse_assets.embedded_snowflake.names import Context
from lakehouse_assets.embedded_snowflake.stages import parquet, views
from lakehouse_assets.embedded_snowflake.stages.paths import StagePath
from lakehouse_assets.embedded_snowflake.stages.references import (
    format_name,
    is_cte,
    is_stage,
    qualify,
    stage_text,
    targets,
)
from lakehouse_assets.embedded_snowflake.stages.scan import Scan


class Expander:
    """Replaces stage references, and views over them, by reads of the files that are there now."""

    def __init__(self, duck: DuckDBPyConnection, schemas: parquet.Schemas) -> None:
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
        staged = [table for table in expression.find_all(exp.Table) if is_stage(table)]
        # Which $1 belongs to which stage is settled before the first of them is replaced.
        scans = [Scan(table) for table in staged]
        for table, scan in zip(staged, scans, strict=True):
            self._expand_stage(table, scan, context)
        found = bool(staged)
        written = {id(target) for target in targets(expression)}
        names = [
            t
            for t in expression.find_all(exp.Table)
            if id(t) not in written and isinstance(t.this, exp.Identifier) and not is_cte(t)
        ]
        if names and (stored := views.stored(self._duck)):
            for table in names:
                if view := stored.get(_key(table, context)):
                    self._expand_view(table, view, depth)
                    found = True
        return found

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

    def _expand_stage(self, table: exp.Table, scan: Scan, context: Context) -> None:
        path = StagePath.parse(stage_text(table), context)
        path.check_exists(self._duck)
        options = self._file_format(table, context)
        pattern = table.args.get("pattern")
        files = path.files(pattern.name if pattern else None)
        schemas = self._schemas.of(self._duck, files)
        sql = parquet.read(files, schemas, scan, path.directory(), options)
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
        name = format_name(given)
        options = lookup_file_format(self._duck, name, context.database, context.schema)
        if options.get("TYPE") != "PARQUET":
            raise compilation_error(
                f"file format {name} is of TYPE = {options.get('TYPE')}; the embedded account reads PARQUET stages in"
                " place."
            )
        return options


def _key(table: exp.Table, context: Context) -> tuple[str, str, str]:
    return (
        (table.catalog or context.database or "").upper(),
        (table.db or context.schema or "").upper(),
        table.name.upper(),
    )
