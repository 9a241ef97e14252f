"""One statement of a session: fakesnow's cursor, with Snowflake's transactions, one error class and stages.

What belongs here: the life of a statement, from text to Arrow table. What does not: the transaction it is part of
(`session.py`) and what each kind of statement means (`definitions.py`, `rewrites.py`, `stages/`).
"""

import copy
import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from typing import Any

import duckdb
import snowflake.connector.errors
import sqlglot
from fakesnow.rowtype import describe_as_rowtype
from fakesnow.statement_type import statement_type_id
from snowflake.connector.errors import ProgrammingError
from sqlglot import Expr, exp
from sqlglot.errors import SqlglotError

from lakehouse_assets.embedded_snowflake import definitions, refusals, rewrites
from lakehouse_assets.embedded_snowflake.comments import only_comments, take_comments
from lakehouse_assets.embedded_snowflake.errors import compilation_error, conflict, programming_error
from lakehouse_assets.embedded_snowflake.history import facts
from lakehouse_assets.embedded_snowflake.history.facts import Facts
from lakehouse_assets.embedded_snowflake.names import ObjectName
from lakehouse_assets.embedded_snowflake.privileges import owners
from lakehouse_assets.embedded_snowflake.session import Session
from lakehouse_assets.embedded_snowflake.stages import formats, views
from lakehouse_assets.embedded_snowflake.stages.expansion import Expander
from lakehouse_assets.embedded_snowflake.stages.references import check_sources, without_stages
from lakehouse_assets.embedded_snowflake.unparsed import Unparsed

logger = logging.getLogger(__name__)

_CHANGES = (exp.Insert, exp.Update, exp.Delete, exp.Merge, exp.Copy)
_DEFINITIONS = (exp.Create, exp.Drop, exp.Alter, exp.Comment, exp.TruncateTable)


class Statement(Unparsed):
    """One statement of a session. `rowtype`, `type_id` and fakesnow's own attributes hold its result; `put` a file
    transfer for the client to do.
    """

    def run(self, text: str, bindings: Any = None, describe_only: bool = False) -> None:
        """Execute one statement. Whatever goes wrong is a ProgrammingError: any other answer makes clients repeat the
        statement for minutes.
        """
        session = self._conn
        try:
            self._run(text.strip().rstrip(";").rstrip(), bindings, describe_only)
            if self.definition:
                owners.note(session.shared.privileges, session.role, self.definition)
        except Exception as error:
            if session.in_transaction and isinstance(error, duckdb.Error | snowflake.connector.errors.Error):
                # DuckDB gives a failed transaction up and would answer its COMMIT with success.
                session.failed = session.failed or _lost(self._duck_conn)
            logger.info("failed: %s: %s: %s", without_values(text), type(error).__name__, error)
            raise programming_error(error) from error

    def _run(self, text: str, bindings: Any, describe_only: bool) -> None:
        session = self._conn
        if self._done_unparsed(text):
            return
        expression = _parse(text)
        refusals.check(expression, text)
        self._judge(expression)
        self.type_id = statement_type_id(expression)
        self._note(facts.of(expression, text, session.context))
        if self._transaction_control(expression):
            return
        if isinstance(expression, _DEFINITIONS):
            session.commit()
        if self._alter_session(expression) or self._define(expression):
            return
        if not (session.database_set and session.schema_set):
            self.check_db_and_schema(without_stages(expression))
        _resolve_variables(expression, session)
        refusals.check_inner(expression)  # again, for a variable may hold what the text did not
        self._hide(expression)
        check_sources(expression, session.context)
        created = expression.copy() if isinstance(expression, exp.Create) and expression.kind == "VIEW" else None
        comments = take_comments(expression, session.context)
        if not isinstance(expression, exp.Copy):
            reads_stage = Expander(self._duck_conn, session.shared.schemas).expand(expression, session.context)
            if reads_stage and created is not None:
                self._create_stage_view(created, expression.args["expression"], text, comments)
                return
        expression = rewrites.apply(expression, session.values())
        params = list(bindings) if isinstance(bindings, tuple) else bindings
        if describe_only:
            if not isinstance(expression, (exp.Select, exp.SetOperation)):
                raise compilation_error("the embedded account describes queries only")
            expression = exp.select("*").from_(expression.subquery("described")).limit(0)
        self._execute_all(expression, params, comments)
        self._hide_rows(expression)

    def _note(self, found: Facts) -> None:
        """Keep what the statement is for the log. What a transaction has changed counts again when it is committed."""
        changes = self._conn.changes
        if found.kind == "COMMIT":
            found = replace(found, changes=tuple(changes))
        if found.kind in ("COMMIT", "ROLLBACK"):
            changes.clear()
        elif self._conn.in_transaction:
            changes.update(found.changes)
        self.facts = found

    def _execute_all(self, expression: Expr, params: Any, comments: list[str]) -> None:
        """Execute a statement, waiting for another session's locks where Snowflake would.

        DuckDB never waits: it fails a statement that meets a change of another open transaction. That the statement is
        repeated instead, on the state which that transaction leaves, is possible as long as nothing else was done in
        this transaction.
        """
        session = self._conn
        if isinstance(expression, _CHANGES) and not session.autocommits and not session.in_transaction:
            session.begin()
        deadline = time.monotonic() + session.lock_timeout
        while True:
            try:
                self._execute_once(expression.copy(), copy.copy(params), comments)
            except (duckdb.TransactionException, duckdb.ConstraintException) as error:
                if (
                    not conflict(error)
                    or (session.in_transaction and session.touched)
                    or session.ending
                    or time.monotonic() > deadline
                ):
                    raise
                if session.in_transaction:
                    session.rollback()
                    session.begin()
                time.sleep(0.02)
            else:
                session.touched = session.in_transaction and (session.touched or isinstance(expression, _CHANGES))
                return

    def _execute_once(self, expression: Expr, params: Any, comments: list[str]) -> None:
        """Execute a statement, which may be several for DuckDB: all of them or none, unless a transaction of the
        client's is open anyway.
        """
        session, duck = self._conn, self._duck_conn
        alone = (
            not session.in_transaction
            and isinstance(expression, (*_CHANGES, exp.Create, exp.Alter))
            and not _spans_databases(expression)
        )
        lengths: list[tuple[str, int]] = []
        with _together(duck) if alone else nullcontext():
            for part in self._transform_explode(expression):
                transformed = self._transform(part, params)
                transformed.args.pop("table_comment", None)  # taken out before, but fakesnow records that there is none
                lengths += transformed.args.pop("text_lengths", None) or []
                self._execute(transformed, params if transformed.find(exp.Placeholder) else None)
            for comment in comments:
                duck.execute(comment)
        if lengths:
            definitions.record_lengths(duck, expression, lengths, session.context)
        definitions.forget_schema(duck, expression, session.context)

    def _transform(self, expression: Expr, params: Any) -> Expr:
        transformed = super()._transform(expression, params)
        refusals.check_names(transformed)  # IDENTIFIER('…') is a name only now
        return transformed

    def _execute(self, transformed: Expr, params: Any = None) -> None:
        super()._execute(transformed, params)
        self.rowtype = describe_as_rowtype(
            [(name, str(type_), None, None, None, None) for name, type_, *_ in self._duck_conn.description or []]
        )

    def _transaction_control(self, expression: Expr) -> bool:
        session = self._conn
        if isinstance(expression, exp.Transaction):
            if session.in_transaction:
                raise ProgrammingError(msg="A transaction is open already.", errno=1003, sqlstate="25001")
            session.begin()
        elif isinstance(expression, exp.Commit):
            session.commit()
        elif isinstance(expression, exp.Rollback):
            session.rollback()
        else:
            return False
        self._succeed()
        return True

    def _alter_session(self, expression: Expr) -> bool:
        if not (isinstance(expression, exp.Alter) and expression.args.get("kind") == "SESSION"):
            return False
        for item in expression.find_all(exp.SetItem):
            if isinstance(item.this, exp.EQ):
                name, value = item.this.this.name.upper(), item.this.expression
                self._conn.parameters[name] = (
                    value.this if isinstance(value, (exp.Literal, exp.Boolean)) else value.name
                )
                if name == "AUTOCOMMIT":
                    self._conn.autocommit(str(self._conn.parameters[name]).upper() == "TRUE")
            else:
                self._conn.parameters.pop(item.this.name.upper(), None)
        self._succeed()
        return True

    def _define(self, expression: Expr) -> bool:
        """Definitions that are done without fakesnow, or are done already."""
        session, duck = self._conn, self._duck_conn
        definitions.check_shown(duck, expression)
        definitions.check_widening(duck, expression, session.context)
        if described := formats.describe(duck, expression, session.context):
            self._answer(*described)
        elif (dropped := definitions.drop(duck, expression, session.context, session.drop_database)) is not None:
            self._succeed(f"{dropped} successfully dropped.")
        elif (created := definitions.create_database(expression, session.create_database)) is not None:
            self._succeed(created)
        elif existing := definitions.already_exists(duck, expression, session.context):
            self._succeed(f"{existing} already exists, statement succeeded.")
        elif only_comments(expression):
            for comment in take_comments(expression, session.context):
                duck.execute(comment)
            self._succeed()
        else:
            return False
        return True

    def _create_stage_view(self, created: exp.Create, query: Expr, text: str, comments: list[str]) -> None:
        translated = self._transform(rewrites.apply(query.copy(), self._conn.values()), None)
        described = self._duck_conn.execute(f"DESCRIBE {translated.sql(dialect='duckdb')}").fetchall()
        with _together(self._duck_conn):
            for statement in (views.creation(created, text, described, self._conn.context), *comments):
                self._duck_conn.execute(statement)
        self._succeed(f"View {ObjectName.created(created, self._conn.context).name} successfully created.")


def without_values(text: str) -> str:
    """A statement as it may stand in a log: the values of its strings can be personal data."""
    return re.sub(r"'(?:[^']|'')*'", "'…'", text)[:1000]


@contextmanager
def _together(duck: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """A transaction of DuckDB's: all of what is executed in it, or nothing."""
    duck.begin()
    try:
        yield
        duck.commit()
    except BaseException:
        with suppress(duckdb.Error):  # a commit that failed has ended its transaction, and is what went wrong
            duck.rollback()
        raise


def _parse(text: str) -> Expr:
    if text.upper() in ("START TRANSACTION", "BEGIN WORK"):
        text = "BEGIN"
    try:
        parsed = sqlglot.parse(text, read="snowflake")
    except SqlglotError:
        refusals.check_unparsed(text)
        raise
    statements = [s for s in parsed if s is not None and not isinstance(s, exp.Semicolon)]
    if len(statements) != 1:
        raise ProgrammingError(
            msg=f"Actual statement count {len(statements)} did not match the desired statement count 1.",
            errno=8,
            sqlstate="0A000",
        )
    return statements[0]


def _resolve_variables(expression: Expr, session: Session) -> None:
    for parameter in list(expression.find_all(exp.Parameter)):
        name = parameter.name
        if name.isdigit():
            continue
        value = next((v for k, v in session.variables._variables.items() if k.upper() == name.upper()), None)
        if value is None:
            raise compilation_error(f"Session variable '${name.upper()}' does not exist")
        parameter.replace(sqlglot.parse_one(value, read="snowflake"))


def _spans_databases(expression: Expr) -> bool:
    """Whether a definition goes to the catalogue that spans databases; DuckDB writes one database in a transaction."""
    return isinstance(expression, exp.Create) and str(expression.args.get("kind")).upper() in ("STAGE", "FILE FORMAT")


def _lost(duck: duckdb.DuckDBPyConnection) -> bool:
    try:
        duck.execute("SELECT 1").fetchall()
    except duckdb.Error:
        return True
    return False
