"""Writes the folder of a source from a sample: declaration, contract, transform, and a test.

Does not belong here: looking at the sample (`infer.py`).
"""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from lakehouse_assets.core.declarations.registry import SOURCES
from lakehouse_assets.core.declarations.source import Pulled
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.scaffold.infer import Sample, SampleColumn, infer
from lakehouse_assets.scaffold.write import Home, quoted, refuse_name, template, write

_CLASSES: Final = {"csv": "Csv", "jsonl": "JsonLines", "parquet": "Parquet"}
_MODULES: Final = {"csv": "csv", "jsonl": "json_lines", "parquet": "parquet"}
_ENDINGS: Final = {"csv": ".csv", "jsonl": ".jsonl", "parquet": ".parquet"}
_FEW_ROWS: Final = 100_000


@dataclass(frozen=True)
class NewSource:
    """A source that is about to be written."""

    name: str
    sample: Sample
    pulled: Pulled | None
    served: bool

    @property
    def model(self) -> str:
        """The name of the contract's class."""
        return "".join(part.capitalize() for part in self.name.split("_"))

    @property
    def key(self) -> tuple[str, ...]:
        return self.sample.key or ("row_id",)


def new_source(
    home: Home, name: str, file: Path, kind: str | None, served: bool, pulled: str | None = None
) -> list[Path]:
    """Write the module of a source and its test, with the sample as its first drop; returns the files, which have not
    been there before. pulled: by which columns it can be pulled from a database, as `key:stamp`. Raises
    `LakehouseError` where the name cannot be one, or the sample cannot be read.
    """
    if name in SOURCES:
        raise LakehouseError(f"There is a source {name} already; choose another name.")
    layers = ("bronze", "silver", "gold") if served else ("bronze", "silver")
    refuse_name(name, "source", [f"{layer}.{name}" for layer in layers])
    sample = infer(file, kind)
    new = NewSource(name, *_by(sample, pulled), served) if pulled else NewSource(name, sample, None, served)
    module = home.folder / f"{name}.py"
    test = home.tests / f"test_{name}.py"
    drop = home.tests / f"{name}_sample{_ENDINGS[new.sample.kind]}"
    write({module: _module(new), test: _test(new, home, drop.name)})
    drop.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix == ".gz":
        drop.write_bytes(gzip.decompress(file.read_bytes()))
    else:
        shutil.copyfile(file, drop)
    return [module, test, drop]


def _module(new: NewSource) -> str:
    kind = new.sample.kind
    columns = new.sample.columns
    types = {c.type for c in columns} - {"Decimal"}
    return template("source").substitute(
        name=new.name,
        model=new.model,
        kind=_CLASSES[kind],
        kind_module=_MODULES[kind],
        types=", ".join(sorted(types | ({"Text"} if not new.sample.key else set()))),
        decimal_imports=_DECIMAL_IMPORTS if any(c.type == "Decimal" for c in columns) else "",
        annotated="from typing import Annotated\n\n" if any(c.type == "Decimal" for c in columns) else "",
        key_field=_KEY_FIELD if not new.sample.key else "",
        fields="\n".join(_field(c) for c in columns),
        key=_listed(new.key),
        key_comment=_key_comment(new),
        business_date=f'\n            "business_date": "{new.sample.day}",' if new.sample.day else "",
        typed=_typed(new),
        frame_imports=_frame_imports(new),
        sql_imports="" if new.sample.key else "from pyspark.sql import functions as F\n",
        table_import=_TABLE_IMPORT if new.served else "",
        columns="\n".join(_landed(c) for c in columns),
        declared="Landed, Pulled, Source" if new.pulled else "Landed, Source",
        order=_ORDER if new.pulled is None else _ORDER_BY_STAMP.format(stamp=new.pulled.stamp),
        pulled="" if new.pulled is None else _PULLED.format(key=new.pulled.key, stamp=new.pulled.stamp),
        served=_served(new) if new.served else "",
    )


_DECIMAL_IMPORTS: Final = "import pandera.engines.polars_engine as pe\n"
_VERIFY: Final = '    lakehouse(tmp_path, "verify")  # fails where Snowflake differs from the Delta tables\n'
_TABLE_IMPORT: Final = "from lakehouse_assets.core.declarations.table import table\n"
_KEY_FIELD: Final = """
    row_id: Text = pa.Field(
        description="128 bits of the SHA-256 of all values: rows that are the same in all of them count once",
        metadata={"derived": True},
    )"""


_ORDER: Final = """\
    # DECIDE: of drops that say the same key, which wins; here the latest.
    order=("batch_date DESC", "path DESC", "content_hash DESC", "row_number DESC"),
    wins="Of several drops for one key the latest wins.","""
_ORDER_BY_STAMP: Final = """\
    order=("{stamp} DESC", "batch_date DESC", "path DESC", "content_hash DESC", "row_number DESC"),
    wins="The latest change wins.","""
_PULLED: Final = """\
    # DECIDE: which column marks a row as deleted? Name it as deleted="…", let all columns but key and time be nullable,
    # and leave the rows that it marks out of the served table.
    pulled=Pulled(key="{key}", stamp="{stamp}"),
"""


def _by(sample: Sample, said: str) -> tuple[Sample, Pulled]:
    """By which columns a source can be pulled, and the sample with what follows from that. said: `key:stamp`."""
    names = {way: c.name for c in sample.columns for way in (c.name, c.written)}
    key, _, stamp = (names.get(part, part) for part in said.partition(":"))
    if key == stamp or not {key, stamp} <= set(names.values()):
        raise LakehouseError(
            f"--pulled is {said!r}; write KEY:STAMP with two columns of the sample, which are"
            f" {', '.join(c.name for c in sample.columns)}."
        )
    if next(c.type for c in sample.columns if c.name == stamp) not in ("Moment", "ShopClock"):
        raise LakehouseError(
            f"--pulled names {stamp} as the time of change, which holds no times; name another column."
        )
    columns = tuple(
        replace(c, type="Moment" if c.name == stamp else c.type, nullable=c.nullable and c.name not in (key, stamp))
        for c in sample.columns
    )
    return replace(sample, columns=columns, key=(key,)), Pulled(key, stamp)


def _type(column: SampleColumn) -> str:
    return f"Annotated[pe.Decimal, 18, {column.scale}]" if column.type == "Decimal" else column.type


def _field(column: SampleColumn) -> str:
    given = ["nullable=True"] if column.nullable else []
    given.append(f'description="{_words(column.name)}"')
    if column.personal:
        given.append('metadata={"personal": True}')
    note = "  # DECIDE: is it personal data?" if column.personal else ""
    return f"    {column.name}: {_type(column)} = pa.Field({', '.join(given)}){note}"


def _landed(column: SampleColumn) -> str:
    given = [quoted(column.name), quoted(f"{_words(column.name)} as landed")]
    if column.written != column.name:
        given.append(f"({quoted(column.written)},)")
    if column.personal:
        given.append("personal=True")
    return f"        Landed({', '.join(given)}),"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _listed(names: Sequence[str]) -> str:
    return f"[{', '.join(map(quoted, names))}]"


def _key_comment(new: NewSource) -> str:
    if new.sample.key:
        return "# DECIDE: do these columns tell all rows apart, also those of other drops?"
    return "# DECIDE: no few columns tell the rows of the sample apart; name the key, if there is one."


def _typed(new: NewSource) -> str:
    layouts = {c.name: c.layout for c in new.sample.columns if c.layout}
    given = f", layouts={{{', '.join(f'{quoted(n)}: {quoted(v)}' for n, v in layouts.items())}}}" if layouts else ""
    made = f"convert(landed, {new.model}{given})"
    if new.sample.key:
        return f"    return {made}"
    values = _listed([c.name for c in new.sample.columns])
    return f'    rows = {made}\n    return rows.withColumn("row_id", F.expr(row_hash({values})))'


def _frame_imports(new: NewSource) -> str:
    names = [*(["Inputs", "Recomputed", "copied"] if new.served else []), *([] if new.sample.key else ["row_hash"])]
    return f"from lakehouse_assets.core.frames import {', '.join(names)}\n" if names else ""


def _served(new: NewSource) -> str:
    day = new.sample.day
    if day:
        slice_ = f'{{"kind": "column", "column": "{day}"}}'
    else:
        slice_ = '{"kind": "whole"}' if new.sample.rows < _FEW_ROWS else '{"kind": "hash", "buckets": 16}'
    return template("served").substitute(
        name=new.name,
        model=new.model,
        fields="\n".join(_field(c) for c in new.sample.columns),
        key_field=_KEY_FIELD.replace('\n        metadata={"derived": True},', "") if not new.sample.key else "",
        key=_listed(new.key),
        key_arguments=_listed(new.key),
        slice=slice_,
        business_date=f'\n            "business_date": "{day}",' if day else "",
    )


def _test(new: NewSource, home: Home, drop: str) -> str:
    return template("source_test").substitute(
        name=new.name,
        areas=f'        "LAKEHOUSE_AREAS": "{home.areas}",\n' if home.areas else "",
        drop=drop,
        ending=_ENDINGS[new.sample.kind],
        verify=_VERIFY if new.served else "",
    )
