"""The helpers that transforms share."""

import random
from typing import Any

import pyarrow as pa
import pytest

from lakehouse_assets.core.frames import least_by, least_by_where_doubled


@pytest.mark.parametrize("keys", [1, 3, 1000])
def test_of_few_doubled_keys_the_same_row_is_first(spark: Any, keys: int) -> None:
    """A first load would publish another row of a key than the loads after it."""
    rng = random.Random(keys)
    rows = [
        {"a": f"k{rng.randrange(keys)}", "b": rng.randrange(2), "at": n, "note": rng.choice([None, "x", "y"])}
        for n in range(400)
    ]
    rng.shuffle(rows)
    frame = spark.createDataFrame(pa.Table.from_pylist(rows))
    order = ["note DESC NULLS LAST", "at"]
    found, expected = (
        sorted(kind(frame, ["a", "b"], order).toArrow().to_pylist(), key=lambda r: r["at"])
        for kind in (least_by_where_doubled, least_by)
    )
    assert found == expected
    first: dict[tuple[str, int], dict[str, Any]] = {}
    for row in rows:
        key, known = (row["a"], row["b"]), first.get((row["a"], row["b"]))
        rank = (row["note"] is None, -ord(row["note"] or "\0"), row["at"])
        if known is None or rank < (known["note"] is None, -ord(known["note"] or "\0"), known["at"]):
            first[key] = row
    assert sorted(first.values(), key=lambda r: r["at"]) == found
