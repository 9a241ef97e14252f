"""Rows and types as delta-rs takes and gives them: Arrow streams, and what Delta, Arrow and Spark SQL call a type.

Does not belong here: tables and commits (`rs_reader.py`, `rs.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.dataset as ds
from deltalake import DeltaTable
from deltalake.schema import ArrayType, Field, PrimitiveType

from lakehouse_assets.core.contracts import Column, ColumnType, Contract
from lakehouse_assets.core.delta.slice_rules import OPERATION

_SPARK_TYPES = {"long": "bigint", "array": "array<string>"}
_DELTA_TYPES: dict[str, PrimitiveType | ArrayType] = {
    "bigint": PrimitiveType("long"),
    "list": ArrayType(PrimitiveType("string"), contains_null=True),
}
"""Where Delta and Spark SQL differ in what they call a type."""
_ARROW_TYPES = {ColumnType(kind).arrow: kind for kind in ("bigint", "boolean", "date", "timestamp", "timestamp_ntz")}
"""What Spark SQL calls the Arrow types that contracts speak of."""


def spark_type(field: Field) -> str:
    """What Spark SQL calls the type of a table's column."""
    return _SPARK_TYPES.get(field.type.type, field.type.type)


def delta_field(column: Column) -> Field:
    """A column that a table gains."""
    return Field(column.name, _DELTA_TYPES.get(column.type.kind) or PrimitiveType(column.type.spark), nullable=True)


def spark_type_of_arrow(kind: pa.DataType) -> str:
    """What Spark SQL calls an Arrow type. Engines and writers differ in the layout of texts and lists; a type of its
    own is named by Arrow.
    """
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return "string"
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return f"array<{spark_type_of_arrow(kind.value_type)}>"
    if pa.types.is_decimal128(kind):
        return f"decimal({kind.precision},{kind.scale})"
    return _ARROW_TYPES.get(kind, str(kind))


def dataset_of(slice_uri: str) -> ds.FileSystemDataset:
    """The files of a staged slice."""
    return ds.dataset(slice_uri, format="parquet", exclude_invalid_files=False)


def has_doubled_key(dataset: ds.Dataset, key: Sequence[str]) -> bool:
    """Whether a key is there more than once."""
    keys = dataset.to_table(columns=list(key))
    return keys.group_by(list(key)).aggregate([]).num_rows < keys.num_rows


def slice_rows(slice_uri: str, contract: Contract, *, with_operation: bool) -> pa.RecordBatchReader:
    """The rows of a staged slice in the contract's own types; the engine may have written other nullability and
    order.
    """
    operation = [pa.field(OPERATION, pa.string())] if with_operation else []
    return _stream(dataset_of(slice_uri), _schema(contract, operation))


def retyped(table: DeltaTable, contract: Contract) -> pa.RecordBatchReader:
    """The rows of a table in the types of a contract; columns that the table lacks are null."""
    return _stream(table.to_pyarrow_dataset(), _schema(contract))


def _schema(contract: Contract, more: Sequence[pa.Field] = ()) -> pa.Schema:
    return pa.schema([*(pa.field(f.name, f.type) for f in contract.arrow_schema), *more])


def _stream(dataset: ds.Dataset, schema: pa.Schema) -> pa.RecordBatchReader:
    present = set(dataset.schema.names)
    # Read little ahead: whoever takes the rows is slower, and ten million of them would wait in memory.
    names = [n for n in schema.names if n in present]
    scanner = dataset.scanner(columns=names, batch_readahead=2, fragment_readahead=1)
    batches = (
        pa.RecordBatch.from_arrays(
            [b.column(f.name).cast(f.type) if f.name in present else pa.nulls(len(b), f.type) for f in schema],
            schema=schema,
        )
        for b in scanner.to_batches()
    )
    return pa.RecordBatchReader.from_batches(schema, batches)
