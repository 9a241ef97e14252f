"""Which queries Snowflake would answer from an earlier result, without a warehouse.

What belongs here: the rules of its result cache, and which tables a query reads through views. What does not: results
(none are kept), what kind of statement a query is (`facts.py`).
"""

import logging
from collections import OrderedDict
from collections.abc import Iterable

import duckdb
import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from lakehouse_assets.embedded_snowflake.history.facts import EVERYTHING, UNSTABLE
from lakehouse_assets.embedded_snowflake.names import Context, ObjectName

KEPT_SECONDS, LONGEST_SECONDS = 24 * 3600.0, 31 * 24 * 3600.0
"""How long a result is kept after it was last used, and at most after it was computed."""
MOST_RESULTS = 5000
TIME = "(time)"
"""Stands for what is another with each look: the clock, a random number, a stage."""

logger = logging.getLogger(__name__)


class Results:
    """Of each query that was asked: since when its result is kept. Knows queries by a code of their text."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._changed: dict[str, float] = {}
        self._last_change = self._all_changed = 0.0

    def changed(self, tables: Iterable[str], at: float) -> None:
        """Note that tables were changed, `EVERYTHING` for all."""
        for table in tables:
            self._last_change = max(self._last_change, at)
            if table == EVERYTHING:
                self._all_changed = at
            else:
                self._changed[table] = at

    def asked(self, query: str, tables: Iterable[str], started: float) -> bool:
        """Whether an earlier result answers a query over these tables. From now on there is one."""
        computed, used = self._kept.pop(query, (0.0, 0.0))
        answered = (
            started - used < KEPT_SECONDS
            and started - computed < LONGEST_SECONDS
            and all(self._unchanged(table, computed) for table in tables)
        )
        self._kept[query] = (computed if answered else started, started)
        while len(self._kept) > MOST_RESULTS:
            self._kept.popitem(last=False)
        return answered

    def _unchanged(self, table: str, since: float) -> bool:
        changed = self._last_change if table == EVERYTHING else self._changed.get(table, 0.0)
        return max(changed, self._all_changed) < since


class Views:
    """What the views of the account read. Each name is looked up once, until a statement defines it anew."""

    def __init__(self, duck: duckdb.DuckDBPyConnection) -> None:
        self._duck = duck
        self._reads: dict[str, tuple[str, ...]] = {}

    def forget(self, names: Iterable[str]) -> None:
        """Forget what was defined anew."""
        for name in names:
            if name == EVERYTHING:
                self._reads.clear()
            self._reads.pop(name, None)

    def behind(self, names: Iterable[str]) -> tuple[str, ...]:
        """The names with all that they read, through views of views as well; `TIME` among them where one is never the
        same.
        """
        found: dict[str, None] = {}
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name in found:
                continue
            found[name] = None
            if name not in self._reads:
                self._look_up({name, *waiting})
            waiting.extend(self._reads[name])
        return tuple(found)

    def _look_up(self, names: set[str]) -> None:
        """All at once, for DuckDB goes through all of its views each time."""
        statement = "SELECT database_name, schema_name, view_name, sql FROM duckdb_views() WHERE NOT internal"
        try:
            views = self._duck.cursor().execute(statement).fetchall()
        except duckdb.Error as error:
            logger.info("the views are not known, so any change counts: %s", type(error).__name__)
            self._reads.update(dict.fromkeys(names - self._reads.keys(), (EVERYTHING,)))
            return
        definitions = {".".join(parts).upper(): sql for *parts, sql in views}
        for name in names - self._reads.keys():
            definition = definitions.get(name.upper())
            self._reads[name] = _read_by(name, definition) if definition else ()


def _read_by(view: str, definition: str) -> tuple[str, ...]:
    """What a view reads, by its definition in DuckDB."""
    if UNSTABLE.search(definition):
        return (TIME,)
    try:
        tables = sqlglot.parse_one(definition, read="duckdb").args["expression"].find_all(exp.Table)
        context = Context(*view.split(".")[:2])
        return tuple({str(ObjectName.of(table, context)).upper() for table in tables if table.name})
    except (SqlglotError, KeyError, AttributeError) as error:
        logger.info("what %s reads is not known, so any change counts: %s", view, type(error).__name__)
        return (EVERYTHING,)
