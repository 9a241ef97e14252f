"""Every name that a contract may have travels: no column is lost to a keyword of one of the platforms."""

import re
from collections.abc import Callable

import duckdb
import pandera.polars as pa
import pyarrow as arrow
import pytest
from deltalake import write_deltalake

from lakehouse_assets.core.contracts.naming import LONGEST, RESERVED
from lakehouse_assets.core.contracts.types import Whole
from lakehouse_assets.core.handoff.names import TargetNames
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets_tests.core.handoff.conftest import Lakehouse
from lakehouse_assets_tests.given import present

KEYWORDS = {
    name
    for name, kind in present(duckdb.sql("SELECT keyword_name, keyword_category FROM duckdb_keywords()")).fetchall()
    if kind != "unreserved"
}
OTHERS = {
    "_",
    "_1",
    "x" * LONGEST,
    "s",
    "t",
    "source",
    "target",
    "metadata",
    "path",
    "slice",
    "hash",
    "id",
    "value",
    "rows_",
}


def test_keywords_that_are_not_reserved_are_columns_as_others_are(lakehouse_of: Callable[..., Lakehouse]) -> None:
    """A column called `end` or `lambda` would fail in one platform's SQL, after the other has published it."""
    names = sorted((KEYWORDS | OTHERS) - RESERVED)
    assert len(names) > 100
    fields = {f"column_{n}": pa.Field(alias=name) for n, name in enumerate(names)}
    config = type("Config", (), {"metadata": {"key": ["id"], "handoff": {"kind": "hash", "buckets": 2}}})
    annotations = dict.fromkeys(fields, Whole)
    lakehouse = lakehouse_of(
        type("Words", (pa.DataFrameModel,), {"__annotations__": annotations, **fields, "Config": config})
    )
    rows = [{name: n + row for n, name in enumerate(names)} for row in range(2)]
    write_deltalake(
        lakehouse.store.uri(lakehouse.contract.name),
        arrow.Table.from_pylist(rows, schema=lakehouse.contract.arrow_schema),
        mode="append",
    )
    lakehouse.hand_off()
    assert lakehouse.snowflake_rows() == lakehouse.lakehouse_rows()
    assert not lakehouse.handoff.plan([lakehouse.contract])


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ({"database": "NULL"}, "LAKEHOUSE_DATABASE is 'NULL', a word that SQL reserves"),
        ({"ops": "select"}, "LAKEHOUSE_OPS_SCHEMA is 'select', a word that SQL reserves"),
        ({"ops": "a b"}, "LAKEHOUSE_OPS_SCHEMA is 'a b', which needs quotes"),
        ({"analytics": "ops"}, "schemas are one (OPS, OPS, STAGING)"),
        ({"staging": "Analytics"}, "schemas are one (ANALYTICS, OPS, ANALYTICS)"),
    ],
)
def test_names_that_the_account_cannot_have_are_refused_before_anything_is_asked(
    names: dict[str, str], said: str
) -> None:
    """Else the first load fails at its end, by a parser's words, or readers see the record of hand-offs as tables."""
    with pytest.raises(LakehouseError, match=re.escape(said)):
        TargetNames(**names)
