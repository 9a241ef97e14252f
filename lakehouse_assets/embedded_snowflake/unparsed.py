"""Statements that are done before a SQL parser sees them: about files of a stage, roles and grants, file formats; what
of fakesnow's cursor they and all others share.

What belongs here: these statements, the form of an answer, and whether the session's role may. What does not: other
statements (`statement.py`).
"""

from collections.abc import Iterable

import pyarrow as pa
from fakesnow.cursor import FakeSnowflakeCursor
from fakesnow.rowtype import ColumnInfo, describe_as_rowtype
from sqlglot import Expr, exp

from lakehouse_assets.embedded_snowflake.history.facts import Facts
from lakehouse_assets.embedded_snowflake.privileges import checks, needs, owners
from lakehouse_assets.embedded_snowflake.privileges.statements import Roles
from lakehouse_assets.embedded_snowflake.privileges.statements import execute as roles_and_grants
from lakehouse_assets.embedded_snowflake.session import Session
from lakehouse_assets.embedded_snowflake.stages import file_statements, formats


class Unparsed(FakeSnowflakeCursor):
    """A statement as far as its text is read here. `facts` says what it is, `definition` what it defines."""

    _conn: Session

    def __init__(self, session: Session) -> None:
        super().__init__(session, session._duck_conn)
        self.type_id = 0
        self.put: file_statements.Put | None = None
        self.rowtype: list[ColumnInfo] = []
        self.facts: Facts | None = None
        self.definition: owners.Definition | None = None

    def _done_unparsed(self, text: str) -> bool:
        """Whether it is such a statement; then it is done."""
        session = self._conn
        if self._about_roles(text) or self._about_files(text):
            return True
        if session.restricted and (altered := formats.altered(text, session.context)):
            self._check([needs.owner_of_format(altered)])
        if formats.alter(self._duck_conn, text, session.context):
            self._succeed()
            return True
        return False

    def _judge(self, expression: Expr) -> None:
        """Raise ProgrammingError unless the session's role may execute a parsed statement; read what it defines."""
        session = self._conn
        self._check(needs.needs(expression, session.context), vague=isinstance(expression, (exp.Show, exp.Use)))
        self.definition = owners.definition(
            session.shared.privileges, self._duck_conn, session.role, expression, session.context
        )

    def _hide(self, expression: Expr) -> None:
        """Judge again, for variables are resolved now, and put lists of what the role sees in a parsed statement."""
        session = self._conn
        if session.restricted:
            self._check(needs.needs(expression, session.context), vague=isinstance(expression, (exp.Show, exp.Use)))
            checks.hide(session.shared.privileges, self._duck_conn, session.role, expression, session.context)

    def _hide_rows(self, expression: Expr) -> None:
        """Leave of the answer to SHOW what the role sees."""
        session = self._conn
        if session.restricted and isinstance(expression, exp.Show) and self._arrow_table is not None:
            shown = expression.name.upper()
            self._arrow_table = checks.visible(session.shared.privileges, session.role, shown, self._arrow_table)
            self._rowcount = self._arrow_table.num_rows

    def _check(self, needed: Iterable[needs.Need], *, vague: bool = False) -> None:
        """Raise ProgrammingError unless the session's role may."""
        session = self._conn
        if session.restricted:
            checks.check(session.shared.privileges, self._duck_conn, session.role, needed, vague=vague)

    def _about_roles(self, text: str) -> bool:
        """Whether a statement is about roles and grants; then it is done."""
        session = self._conn
        roles = Roles(
            session.shared.privileges, self._duck_conn, session.context, session.role, session.commit, session.take_role
        )
        if (said := roles_and_grants(roles, text)) is None:
            return False
        self._succeed(said)
        return True

    def _about_files(self, text: str) -> bool:
        """Whether a statement is about the files of a stage; then it is done. Read before a SQL parser sees it."""
        session = self._conn
        if put := file_statements.parse_put(text, session.context):
            self._check([needs.stage(put.target, "WRITE")])
            put.target.check_exists(self._duck_conn)
            self.put = put
            return True
        if not (listing := file_statements.parse_listing(text, session.context)):
            return False
        remove, path, pattern = listing
        self._check([needs.stage(path, "WRITE" if remove else "READ")])
        path.check_exists(self._duck_conn)
        if remove:
            self._answer(("name", "result"), file_statements.remove(path, pattern))
        else:
            self._answer(("name", "size", "md5", "last_modified"), session.shared.listing.rows(path, pattern))
        return True

    def _describe_last_sql(self) -> list:
        raise NotImplementedError("the result's types are read with the result")

    def _answer(self, names: tuple[str, ...], rows: list[tuple]) -> None:
        columns = list(zip(*rows, strict=True)) if rows else [()] * len(names)
        types = [pa.int64() if name == "size" else pa.string() for name in names]
        self._arrow_table = pa.table(
            [pa.array(column, type_) for column, type_ in zip(columns, types, strict=True)], names=list(names)
        )
        self._rowcount = len(rows)
        self.rowtype = describe_as_rowtype(
            [
                (name, "BIGINT" if type_ == pa.int64() else "VARCHAR", *[None] * 4)
                for name, type_ in zip(names, types, strict=True)
            ]
        )

    def _succeed(self, message: str = "Statement executed successfully.") -> None:
        self._answer(("status",), [(message,)])
