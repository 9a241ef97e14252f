"""A CRM's table of customers in a real database, as its applications would change it; and what it holds, read without
the code under test.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import make_url

from lakehouse_assets_tests import mariadb_server

COLUMNS = (
    "name text, email text, city text, country text, segment text, updated_at {time}, deleted boolean DEFAULT false"
)


class Crm:
    """`url` is what the lakehouse is given. Every `do` is a transaction of its own."""

    def __init__(self, url: str, key: str = "bigint PRIMARY KEY"):
        self.url = url
        self.kind = make_url(url).get_backend_name()
        time = {"postgresql": "timestamptz", "mariadb": "datetime(6)"}.get(self.kind, "text")
        self.do(
            "DROP TABLE IF EXISTS customers", f"CREATE TABLE customers (customer_id {key}, {COLUMNS.format(time=time)})"
        )

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        """A cursor; what it does is committed at the end."""
        if self.kind == "postgresql":
            import psycopg2

            connection: Any = psycopg2.connect(self.url)
        elif self.kind == "mariadb":
            connection = mariadb_server.connect(self.url)
        else:
            connection = sqlite3.connect(self.url.removeprefix("sqlite:///"))
            connection.execute("PRAGMA journal_mode = WAL")
        try:
            yield connection.cursor()
            connection.commit()
        finally:
            connection.close()

    def do(self, *statements: str) -> None:
        with self.transaction() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def put(self, number: Any, updated_at: str, name: str = "Ada", deleted: bool = False) -> None:
        """Insert a customer, or change the one with that number."""
        if self.kind == "mariadb":
            updated_at = updated_at.removesuffix("+00:00")
        self.do(
            f"DELETE FROM customers WHERE customer_id = {number}",
            f"INSERT INTO customers VALUES ({number}, '{name}', '{name}@example.org', 'Graz', 'Austria', 'base',"
            f" '{updated_at}', {deleted})",
        )

    def delete(self, number: int) -> None:
        self.do(f"DELETE FROM customers WHERE customer_id = {number}")

    def customers(self) -> dict[int, tuple[Any, ...]]:
        """Those that are not marked as deleted, by number."""
        with self.transaction() as cursor:
            cursor.execute("SELECT customer_id, name, city, country, segment FROM customers WHERE deleted IS NOT TRUE")
            return {row[0]: tuple(row[1:]) for row in cursor.fetchall()}


def sqlite_crm(folder: Path, **more: str) -> Crm:
    return Crm(f"sqlite:///{folder / 'crm.sqlite'}", **more)
