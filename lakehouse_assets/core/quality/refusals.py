"""Refusing, when definitions load, what a model says of its rows and the audit in one pass does not judge.

Does not belong here: rules over whole tables (`table_rules.py`), what else of a model cannot be kept
(`core/contracts/contract.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pandera.api.checks import Check
from pandera.api.function_dispatch import Dispatcher

from lakehouse_assets.core.contracts import Contract
from lakehouse_assets.core.contracts.row_checks import RULES
from lakehouse_assets.core.quality.check_sql import rule_sql
from lakehouse_assets.errors import LakehouseError


def refuse_unreadable(contract: Contract) -> None:
    """Raise `LakehouseError` where the model says something of its rows that the one-pass audit does not judge; for
    when definitions load.
    """
    schema = contract.model.to_schema()
    for name, column in schema.columns.items():
        where = f"{contract.model.__name__}.{name} ({contract.name})"
        _refuse_settings(where, column, _OF_A_COLUMN)
        for check in column.checks:
            _refuse_options(where, check)
    _refuse_settings(f"{contract.model.__name__} ({contract.name})", schema, _OF_A_TABLE)
    for check in schema.checks or []:
        _refuse_options(f"the rows of {contract.model.__name__} ({contract.name})", check)
    names = [rule.name for rule in contract.rules]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise LakehouseError(
            f"The contract of {contract.name} has two rules named {', '.join(doubled)}; merge them into one."
        )
    for rule in contract.rules:
        rule_sql(contract, rule)


_KEY = "which is not judged; name the key in Config.metadata instead"

_CHANGES = "by which pandera would change rows before it judges them; remove it, and let the transform do that"

_OF_A_COLUMN: Mapping[str, tuple[Any, str]] = {
    "unique": (False, _KEY),
    "regex": (False, "which is not judged; give each column a line of its own"),
    "required": (True, "but every row of a table has all its columns; write nullable=True instead of Optional"),
    "default": (None, _CHANGES),
    "coerce": (False, _CHANGES),
    "parsers": (None, _CHANGES),
}

_OF_A_TABLE: Mapping[str, tuple[Any, str]] = {
    "unique": (None, _KEY),
    "drop_invalid_rows": (False, "but a row that breaks a rule goes to quarantine; remove it"),
    **dict.fromkeys(("add_missing_columns", "coerce"), (False, _CHANGES)),
    "parsers": (None, _CHANGES),
    "dtype": (None, _CHANGES),
}
"""Setting of a pandera schema → the one value under which its verdict is that of the rules alone, and what to say of
any other.
"""


def _refuse_settings(where: str, schema: Any, settings: Mapping[str, tuple[Any, str]]) -> None:
    for setting, (usual, why) in settings.items():
        if getattr(schema, setting) not in (usual, []):
            raise LakehouseError(f"{where} sets {setting}, {why}.")
    if getattr(schema, "strict", None) == "filter":
        raise LakehouseError(f"{where} sets strict to filter, {_CHANGES}.")


def _refuse_options(where: str, check: Check) -> None:
    if check.name == "unique_values_eq":
        raise LakehouseError(
            f"The check {check.name} on {where} is about all rows together, which no row can break; use isin, and"
            " `rows` in Config.metadata."
        )
    built_in = Check.is_builtin_check(check.name) and isinstance(check._check_fn, Dispatcher)
    if not built_in and not (check.name in RULES and RULES[check.name].is_body_of(check)):
        raise LakehouseError(
            f"The check {check.name} on {where} has a body that cannot be read; use a built-in check, or register one"
            " in core/contracts/row_checks.py."
        )
    for option, usual in (("ignore_na", True), ("raise_warning", False), ("element_wise", False), ("groupby", None)):
        if getattr(check, option) != usual:
            raise LakehouseError(f"The check {check.name} on {where} sets {option}, which is not judged; remove it.")
