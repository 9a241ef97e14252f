"""What a query takes from one stage: its references `$1:key` and `METADATA$…`.

What belongs here: collecting these references, and putting columns in their place. What does not: the read that has
these columns (`parquet.py`).
"""

from sqlglot import Expr, exp

from lakehouse_assets.embedded_snowflake.errors import compilation_error
from lakehouse_assets.embedded_snowflake.stages.references import is_stage, sources, stage_select

_TIMESTAMPS = (
    exp.DataType.Type.TIMESTAMP,
    exp.DataType.Type.TIMESTAMPNTZ,
    exp.DataType.Type.TIMESTAMPTZ,
    exp.DataType.Type.TIMESTAMPLTZ,
)
FILE_NAME, FILE_ROW_NUMBER = "METADATA$FILENAME", "METADATA$FILE_ROW_NUMBER"


class Scan:
    """The references `$1:key` of one stage table, collected and replaced by columns of the read that takes its
    place.
    """

    def __init__(self, table: exp.Table) -> None:
        select = table.find_ancestor(exp.Select)
        if select is None or not any(source is table for source in sources(select)):
            raise compilation_error("a stage can be read in the FROM of a SELECT only")
        given = table.args.get("alias")
        self.alias: exp.Identifier = given.this if given else exp.to_identifier("STAGED")
        self.keys: list[str] = []
        self._timestamps: set[str] = set()
        if star := next((e for e in select.expressions if e.is_star), None):
            raise compilation_error(
                f"{star.sql()} cannot be selected from a stage on the embedded account: name the columns, $1:name."
            )
        stages = sum(is_stage(source) for source in sources(select))
        for parameter in list(select.find_all(exp.Parameter)):
            column = parameter.parent if isinstance(parameter.parent, exp.Column) else parameter
            if parameter.name.isdigit() and stage_select(parameter) is select and self._owns(column, stages):
                self._replace(parameter, column)
        for column in list(select.find_all(exp.Column)):
            if (
                column.name.upper() in (FILE_NAME, FILE_ROW_NUMBER)
                and stage_select(column) is select
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
