"""Problems found while a row was read, severities, literals, and what no contract may say."""

import random
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pandera.polars as pa
import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest

from lakehouse_assets.core.contracts import ColumnType, Contract
from lakehouse_assets.core.contracts.types import Day, Money, Price, Text, TextList, Whole
from lakehouse_assets.core.quality.check_sql import sql_literal
from lakehouse_assets.core.quality.refusals import refuse_unreadable
from lakehouse_assets.core.quality.rules import violations, violations_sql, warnings_sql
from lakehouse_assets.core.spark_sql import literal
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets_tests.core.quality.generate import TEXTS, random_texts


class Things(pa.DataFrameModel):
    """A table with a rule of every severity, on landed and derived columns."""

    a: Whole = pa.Field(ge=0)
    b: Whole = pa.Field(le=9)
    c: Whole = pa.Field(nullable=True, ne=5)
    d: Whole = pa.Field(gt=0, metadata={"derived": True})
    e: Whole = pa.Field(nullable=True, lt=3, metadata={"derived": True})

    class Config:
        metadata = {"severity": {"c.ne": "warn", "e.lt": "warn", "a.ge": "block", "c.type": "warn", "b.scale": "warn"}}  # noqa: RUF012


PROBLEMS = ["a.type", "b.type", "b.scale", "c.type", "row.ragged", "drop.unreadable", "other.type"]
MALFORMED, TOLERATED = {"row.ragged", "drop.unreadable"}, {"c.type", "b.scale"}


def reference(values: dict[str, Any], problems: list[str | None] | None) -> tuple[list[str], list[str]]:
    """The rules of the audit, said once more in Python."""
    found = {p for p in problems or [] if p is not None}
    if found & MALFORMED:
        return sorted(found & MALFORMED), []
    a, b, c, d, e = (values[n] for n in "abcde")
    bad = found - TOLERATED
    landed = {"a.nullable"} if a is None and "a.type" not in bad else set()
    landed |= {"b.nullable"} if b is None and not {"b.type"} & bad else set()
    landed |= {"a.ge"} if a is not None and a < 0 else set()
    landed |= {"b.le"} if b is not None and b > 9 else set()
    warned = (found & TOLERATED) | ({"c.ne"} if c == 5 else set())
    if bad or landed:
        return sorted(bad | landed), sorted(warned)
    derived = {"d.nullable"} if d is None else {"d.gt"} if d <= 0 else set()
    return sorted(derived), sorted(warned | ({"e.lt"} if e is not None and e >= 3 else set()))


@pytest.fixture(scope="module")
def judged(spark, tmp_path_factory) -> tuple[list[dict[str, Any]], Any]:
    """2,000 rows with problems at random, and their frame, judged, read from Parquet."""
    rng = random.Random(1)
    rows = []
    for i in range(2000):
        values = {n: rng.choice([None, -1, 0, 1, 3, 5, 9, 10]) if rng.random() < 0.4 else 1 for n in "abcde"}
        problems = rng.choice(
            [None, [], [], rng.sample(PROBLEMS, rng.randint(1, 3)), [None, rng.choice(PROBLEMS)], ["a.type", "a.type"]]
        )
        rows.append({"i": i, **values, "p": problems})
    schema = arrow.schema([(n, arrow.int64()) for n in "iabcde"] + [("p", arrow.list_(arrow.string()))])
    path = str(tmp_path_factory.mktemp("rules") / "rows.parquet")
    parquet.write_table(arrow.Table.from_pylist(rows, schema=schema), path)
    return rows, violations(spark.read.parquet(path), Contract("test.things", Things), problems_column="p")


def test_problems_and_broken_rules_are_reported_together(judged):
    """Else quarantine names the wrong reason, or a value that could not be read passes as a null."""
    rows, frame = judged
    found = {r["i"]: (r["_violations"], r["_warnings"]) for r in frame.collect()}
    wrong = [(row, found[row["i"]]) for row in rows if found[row["i"]] != reference(row, row["p"])]
    assert not wrong, wrong[:3]


@pytest.mark.parametrize("empty", [True, False])
def test_the_verdict_can_be_filtered_on(judged, empty):
    """Else picking the good rows fails where the engine pushes the filter down to the files."""
    rows, frame = judged
    found = {r["i"] for r in frame.where(f"(size(_violations) = 0) = {str(empty).lower()}").select("i").collect()}
    assert found == {row["i"] for row in rows if (not reference(row, row["p"])[0]) == empty}


def test_without_problems_the_two_forms_agree(spark, judged):
    """Else the live table is judged by other rules than the slice that went into it."""
    rows, frame = judged
    contract = Contract("test.things", Things)
    plain = frame.selectExpr("i", f"{violations_sql(contract)} AS v", f"{warnings_sql(contract)} AS w").collect()
    assert {r["i"]: (r["v"], r["w"]) for r in plain} == {row["i"]: reference(row, None) for row in rows}


def test_rules_of_absent_columns_are_judged_only_on_request(spark):
    """Else a column that a transform forgot is taken for a column without faults."""
    frame = spark.sql("SELECT CAST(NULL AS BIGINT) AS a")
    contract = Contract("test.things", Things)
    with pytest.raises(LakehouseError, match=r"test\.things lack the columns b, c, d, e"):
        violations(frame, contract)
    assert violations(frame, contract, columns_present=["a"]).collect()[0]["_violations"] == ["a.nullable"]


class Period(pa.DataFrameModel):
    """Rules between columns."""

    first: Day = pa.Field(nullable=True)
    last: Day = pa.Field(nullable=True)
    end: Day = pa.Field(nullable=True)
    x: Money = pa.Field(nullable=True)
    y: Money = pa.Field(nullable=True)
    z: Money = pa.Field(nullable=True)

    class Config:
        in_order = {"columns": ["first", "last", "end"]}  # noqa: RUF012
        sums_to = {"total": "z", "parts": ["x", "y"]}  # noqa: RUF012
        present = {"columns": ["x"]}  # noqa: RUF012


def test_rules_between_columns_are_judged_as_pandera_judges_them(spark, tmp_path):
    """Else a rule over two columns means something else in the audit than in the contract."""
    import polars as pl

    from lakehouse_assets_tests.core.quality.judges import by_pandera, expected, on_engine

    contract = Contract("test.period", Period)
    refuse_unreadable(contract)
    rng = random.Random(2)
    days, sums = (
        [None, date(2010, 1, 1), date(2010, 1, 2), date(2010, 1, 3)],
        [None, *(Decimal(n).scaleb(-3) for n in (0, 1, 2, -1))],
    )
    draw = {
        c.name: [rng.choice(days if c.type.kind == "date" else sums) for _ in range(3000)] for c in contract.columns
    }
    schema = Period.to_schema()
    frame = pl.DataFrame({n: pl.Series(n, v, dtype=schema.columns[n].dtype.type) for n, v in draw.items()})
    found = on_engine(spark, contract, frame, tmp_path)
    assert found == [expected(contract, broken) for broken in by_pandera(contract, frame)]
    assert {rule for broken, _ in found for rule in broken} == {"row.in_order", "row.sums_to", "row.present"}


def test_any_text_survives_as_a_literal(spark):
    """Else a quote or a backslash in a contract changes the query."""
    texts = [*TEXTS, *random_texts(random.Random(4), 300)]
    frame = spark.createDataFrame([(1,)], "one INT")
    for start in range(0, len(texts), 50):
        some = texts[start : start + 50]
        assert list(frame.selectExpr(*(f"{literal(t)} AS c{i}" for i, t in enumerate(some))).collect()[0]) == some


@pytest.mark.parametrize(
    ("value", "of"),
    [
        (2**63, ColumnType("bigint")),
        (True, ColumnType("bigint")),
        (1.0, ColumnType("bigint")),
        (Decimal("0.0001"), ColumnType("decimal", 12, 3)),
        (10**9, ColumnType("decimal", 12, 3)),
        (0.1, ColumnType("decimal", 12, 3)),
        (Decimal("NaN"), ColumnType("decimal", 12, 3)),
        (datetime(2010, 1, 1), ColumnType("date")),
        (date(2010, 1, 1), ColumnType("timestamp_ntz")),
        (datetime(2010, 1, 1, tzinfo=UTC), ColumnType("timestamp_ntz")),
        (datetime(2010, 1, 1), ColumnType("timestamp")),
        (1, ColumnType("string")),
        (None, ColumnType("string")),
        (1, ColumnType("boolean")),
    ],
)
def test_a_value_of_another_type_is_refused(value, of):
    """Else the engine converts it, and the boundary moves."""
    with pytest.raises(LakehouseError, match="cannot be compared"):
        sql_literal(value, of)


def _model(config: dict[str, Any] | None = None, **fields: Any) -> Contract:
    annotations = {name: said[0] for name, said in fields.items()}
    body = {name: said[1] for name, said in fields.items()}
    settings = {"Config": type("Config", (), config)} if config else {}
    return Contract(
        "test.made", type("Made", (pa.DataFrameModel,), {"__annotations__": annotations, **body, **settings})
    )


@pytest.mark.parametrize(
    ("contract", "says"),
    [
        (_model(c=(Text, pa.Field(str_matches=r"^\d+$"))), r"str_matches on Made.c \(test.made\).*alike"),
        (_model(c=(Text, pa.Field(str_contains=r"(?i)abc"))), "alike"),
        (_model(c=(Whole, pa.Field(str_startswith="1"))), "does not apply to the type bigint"),
        (_model(c=(TextList, pa.Field(eq=["a"]))), "does not apply"),
        (_model(c=(Price, pa.Field(ge=0.1))), "no value of the type"),
        (_model(c=(Whole, pa.Field(isin=[1, None]))), "no value of the type"),
        (_model(c=(Text, pa.Field(isin="abc"))), "no list"),
        (_model(c=(Whole, pa.Field(ge=1, ignore_na=False))), "ignore_na"),
        (_model(c=(Whole, pa.Field(ge=1, raise_warning=True))), "raise_warning"),
        (_model(c=(Whole, pa.Field(unique=True))), "unique"),
        (_model(c=(Whole, pa.Field(unique_values_eq=[1]))), "about all rows together"),
        (_model(c=(Whole, pa.Field(default=0))), r"Made\.c \(test\.made\) sets default, .* would change rows"),
        (_model(c=(Whole, pa.Field(coerce=True))), "sets coerce"),
        (_model(c=(Whole | None, pa.Field())), "sets required, .* nullable=True"),
        (
            _model({"drop_invalid_rows": True}, c=(Whole, pa.Field())),
            r"Made \(test\.made\) sets drop_invalid_rows, .* quarantine",
        ),
        (_model({"add_missing_columns": True}, c=(Whole, pa.Field())), "sets add_missing_columns"),
        (_model({"coerce": True}, c=(Whole, pa.Field())), "sets coerce"),
        (_model({"strict": "filter"}, c=(Whole, pa.Field())), "sets strict to filter"),
    ],
)
def test_what_cannot_be_judged_is_refused_by_name(contract, says):
    """Else a rule of the contract is silently not kept."""
    with pytest.raises(LakehouseError, match=says):
        refuse_unreadable(contract)


def test_bodies_under_check_decorators_are_refused():
    """Else a rule written in Python is silently not kept, even where it borrows the name of one that is."""

    class Body(pa.DataFrameModel):
        c: Text

        @pa.check("c", name="trimmed", statistics={"expected": True})
        def trimmed(cls, data):
            return data.lazyframe

    class Borrowed(pa.DataFrameModel):
        c: Text

        @pa.check("c", name="isin", statistics={"allowed_values": ["a"]})
        def isin(cls, data):
            return data.lazyframe

    class Whole_(pa.DataFrameModel):
        c: Text

        @pa.dataframe_check
        def sensible(cls, data):
            return data.lazyframe

    for model, says in (
        (Body, r"trimmed on Body\.c"),
        (Borrowed, r"isin on Borrowed\.c"),
        (Whole_, "sensible on the rows of Whole_"),
    ):
        with pytest.raises(LakehouseError, match=f"{says}.*body"):
            refuse_unreadable(Contract("test.body", model))


def test_a_row_rule_over_a_column_that_is_not_there_is_refused():
    """Else a misspelt column fails every run instead of the definitions."""

    class Misspelt(pa.DataFrameModel):
        first: Day

        class Config:
            in_order = {"columns": ["first", "lst"]}  # noqa: RUF012

    with pytest.raises(LakehouseError, match="no column lst"):
        refuse_unreadable(Contract("test.misspelt", Misspelt))
