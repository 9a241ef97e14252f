"""What a source is: one declaration, from which its tables, parser, journal entries, accounts, checks and the choices
of commands follow.

Belongs here: the declaration, and what follows from it without I/O. Does not belong here: how a kind of drop is read
(`kinds/`), any particular source (`domains/`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import pandera.polars as pa
from pydantic import SecretStr

from lakehouse_assets.core.contracts.bronze import bronze_model
from lakehouse_assets.core.contracts.contract import Contract
from lakehouse_assets.core.contracts.side_tables import Quarantine, Verdicts
from lakehouse_assets.core.declarations.fingerprint import digest, fingerprint
from lakehouse_assets.core.format import Format, Kind, Landed
from lakehouse_assets.errors import LakehouseError

__all__ = ["Landed", "Pulled", "Source"]

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from lakehouse_assets.settings import Settings


def no_parameters(_: Settings) -> Mapping[str, Any]:
    return {}


@dataclass(frozen=True)
class Pulled:
    """That a source can be pulled from a table of a database, and by which of its columns.

    key: tells the rows of the table apart. stamp: when a row was last changed; of two records of a key, `order` must
    let the one with the later stamp win, or the one that landed later. deleted: says of a record that its row is gone;
    without such a column a row that is gone from the table stays.
    """

    key: str
    stamp: str
    deleted: str = ""


@dataclass(frozen=True)
class Source:
    """A source and the silver table that it feeds.

    name: the folder of the landing zone, and what commands call it. kind: how its drops are written. columns: as they
    land. contract: the model of the silver table, which names that table in `Config.name`; a partition that it names
    must follow from the key, for what the table holds of a key is looked for there alone. typed: landed rows → one row
    each with the contract's columns and `_problems`, the conversion rules that it breaks (array of strings). order:
    which of the drops that support a key wins, as SQL. description: of the bronze table; landed, wins: how rows come
    in, and which wins, for people. pulled: how it is pulled from a database, if it can be. topic: the topic of a Kafka
    broker that its rows come by, if they do (`kinds/messages.py`). bronze: the bronze table, default `bronze.<name>`.
    parameters: settings that `typed` takes; another value makes the silver table stale.
    """

    name: str
    kind: Kind
    columns: tuple[Landed, ...]
    contract_model: type[pa.DataFrameModel]
    typed: Callable[..., DataFrame]
    order: tuple[str, ...]
    description: str
    landed: str = ""
    wins: str = ""
    pulled: Pulled | None = None
    topic: str = ""
    bronze: str = ""
    parameters: Callable[[Settings], Mapping[str, Any]] = no_parameters
    bound: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.bronze:
            object.__setattr__(self, "bronze", f"bronze.{self.name}")
        if self.pulled:
            self._refuse(self.pulled)

    def _refuse(self, pulled: Pulled) -> None:
        """Raise `LakehouseError` where it is pulled by columns that it does not have."""
        named = [pulled.key, pulled.stamp, *([pulled.deleted] if pulled.deleted else [])]
        if lacking := [name for name in named if name not in self.format.values]:
            raise LakehouseError(
                f"The source {self.name} is pulled by {', '.join(map(repr, lacking))}, which it does not land; name"
                " columns of the source in Pulled(…)."
            )
        if len(set(named)) < len(named):
            raise LakehouseError(f"The source {self.name} is pulled by one column twice; name another in Pulled(…).")

    @property
    def format(self) -> Format:
        return Format(self.kind, self.columns)

    @cached_property
    def contract(self) -> Contract:
        """Of the silver table."""
        return Contract.of(self.contract_model)

    @property
    def table(self) -> str:
        """The silver table as `silver.<table>`."""
        return self.contract.name

    @cached_property
    def quarantine(self) -> Contract:
        return Contract(f"{self.table}_quarantine", Quarantine)

    @cached_property
    def verdicts(self) -> Contract:
        return Contract(f"{self.table}_verdicts", Verdicts)

    @cached_property
    def bronze_contract(self) -> Contract:
        columns = [(c.name, c.description, c.personal) for c in self.columns]
        return Contract(self.bronze, bronze_model(self.bronze, self.description, columns, self.typed.__module__))

    @property
    def contracts(self) -> tuple[Contract, ...]:
        """Of all tables that follow from the source."""
        return (self.bronze_contract, self.contract, self.quarantine, self.verdicts)

    def with_settings(self, settings: Settings) -> Source:
        """The source whose `typed` has what it takes from the settings."""
        given = self.parameters(settings)
        plain = {n: v.get_secret_value() if isinstance(v, SecretStr) else v for n, v in given.items()}
        return replace(self, typed=partial(self.typed, **plain), bound=given) if given else self

    @property
    def code(self) -> Callable[..., DataFrame]:
        """The function that says what a landed row means."""
        return self.typed.func if isinstance(self.typed, partial) else self.typed

    @cached_property
    def fingerprint(self) -> str:
        """Of `typed` and what it takes from the settings. Two bytes of the hash of a secret tell nothing of it."""
        said = [
            f"{name}={digest(value.get_secret_value())[:4] if isinstance(value, SecretStr) else value}"
            for name, value in sorted(self.bound.items())
        ]
        code = fingerprint(self.code)
        return f"{code}-{digest(' '.join(said))[:8]}" if said else code


def pulled_by(source: Source) -> Pulled:
    """By which columns a source is pulled; to ask one that cannot be is a fault of this application."""
    assert source.pulled, source.name
    return source.pulled
