"""Writes the file of a table that is computed from others.

Does not belong here: sources (`source.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from lakehouse_assets.core.contracts import Column, Contract, contract
from lakehouse_assets.errors import LakehouseError
from lakehouse_assets.scaffold.write import Home, quoted, refuse_name, template, write

_PROVENANCE: Final = ("batch_date", "path", "content_hash", "row_number")
_TYPES: Final = {
    "string": "Text",
    "bigint": "Whole",
    "boolean": "Flag",
    "date": "Day",
    "timestamp": "Moment",
    "timestamp_ntz": "ShopClock",
    "list": "TextList",
}


def new_table(home: Home, name: str, upstreams: Sequence[str], served: bool) -> list[Path]:
    """Write the module of a gold table, which copies the first of its upstreams until somebody decides otherwise;
    returns it. Raises `LakehouseError` for a name that cannot be one, or an upstream that is not there.
    """
    name = name.removeprefix("gold.")
    refuse_name(name, "table", [f"gold.{name}"])
    if not upstreams:
        raise LakehouseError(f"{name} is computed from nothing; name at least one table by --from.")
    models = [contract(upstream) for upstream in upstreams]
    if bronze := [m.name for m in models if m.layer == "bronze"]:
        raise LakehouseError(f"{', '.join(bronze)} holds rows as they landed; compute {name} from silver or gold.")
    module = home.folder / f"{name}.py"
    write({module: _module(name, models, served)})
    return [module]


def _module(name: str, upstreams: Sequence[Contract], served: bool) -> str:
    first = upstreams[0]
    columns = [c for c in first.columns if c.name not in _PROVENANCE]
    decimal = any(c.type.kind == "decimal" for c in columns)
    model = "".join(part.capitalize() for part in name.split("_"))
    others = [u.name for u in upstreams[1:]]
    return template("table").substitute(
        name=name,
        model=model,
        annotated="from typing import Annotated\n\n" if decimal else "",
        decimal_imports="import pandera.engines.polars_engine as pe\n" if decimal else "",
        types=", ".join(sorted({_TYPES[c.type.kind] for c in columns if c.type.kind in _TYPES})),
        fields="\n".join(map(_field, columns)),
        key=f"[{', '.join(map(quoted, first.key))}]",
        handoff=_handoff(first) if served else "",
        upstreams=f"[{', '.join(quoted(u.name) for u in upstreams)}]",
        first=first.name,
        others=f"\n    # DECIDE: what {', '.join(others)} adds, by inputs.snapshots[…] and a join." if others else "",
    )


def _field(column: Column) -> str:
    given = ["nullable=True"] if column.nullable else []
    given.append(f"description={quoted(column.description)}")
    if column.personal:
        given.append('metadata={"personal": True}')
    kind = column.type
    written = _TYPES.get(kind.kind) or f"Annotated[pe.Decimal, {kind.precision}, {kind.scale}]"
    return f"    {column.name}: {written} = pa.Field({', '.join(given)})"


def _handoff(model: Contract) -> str:
    day = model.business_date
    slice_ = f'{{"kind": "column", "column": "{day}"}}' if day else '{"kind": "hash", "buckets": 8}'
    return f'\n            # DECIDE: in which slices it travels to Snowflake.\n            "handoff": {slice_},'
