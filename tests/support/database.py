"""Writes rows directly into the database of a Prefect server, SQLite or PostgreSQL."""

import asyncio
import sqlite3
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import Any

import asyncpg

from support.prefect_server import PrefectServer

Row = dict[str, Any]  # datetimes and timedeltas as such, JSON as text
Rows = Mapping[str, Sequence[Row]]  # by table; all rows of a table have the same columns

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def insert(server: PrefectServer, rows: Rows) -> None:
    """Inserts all rows in one transaction; on SQLite about 40,000 rows a second."""
    if server.database_url:
        _in_postgres(lambda connection: _copy(connection, rows), server.database_url)
        return
    with _sqlite(server) as database:
        for table, rows_of_table in rows.items():
            if rows_of_table:
                columns = list(rows_of_table[0])
                values = [[_sqlite_value(value) for value in row.values()] for row in rows_of_table]
                database.executemany(_insert_statement(table, columns), values)


def update(server: PrefectServer, table: str, row_id: str, column: str, value: object) -> None:
    if server.database_url:
        statement = f"update {table} set {column} = $1 where id = $2"
        _in_postgres(lambda connection: connection.execute(statement, value, row_id), server.database_url)
        return
    with _sqlite(server) as database:
        database.execute(f"update {table} set {column} = ? where id = ?", (_sqlite_value(value), row_id))


@contextmanager
def _sqlite(server: PrefectServer) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(server.database, timeout=30)) as database, database:
        database.execute("pragma synchronous = off")
        database.execute("begin immediate")
        yield database


def _insert_statement(table: str, columns: Sequence[str]) -> str:
    return f"insert into {table} ({', '.join(columns)}) values ({', '.join('?' * len(columns))})"


def _sqlite_value(value: object) -> object:
    """As SQLAlchemy writes it: UTC without an offset, always with microseconds; an interval as a time in 1970."""
    if isinstance(value, timedelta):
        value = _EPOCH + value
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(" ", "microseconds")[:26]
    return value


def _in_postgres(work: Callable[[asyncpg.Connection], Coroutine[Any, Any, Any]], url: str) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(url.replace("+asyncpg", ""))
        try:
            await work(connection)
        finally:
            await connection.close()

    # In a separate thread: an asynchronous test already has a running loop.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, run()).result()


async def _copy(connection: asyncpg.Connection, rows: Rows) -> None:
    async with connection.transaction():
        # A run and its state refer to each other: with foreign keys checked, neither could come first.
        await connection.execute("set local session_replication_role = replica")
        for table, rows_of_table in rows.items():
            if rows_of_table:
                columns = list(rows_of_table[0])
                records = map(itemgetter(*columns), rows_of_table)
                await connection.copy_records_to_table(table, records=records, columns=columns)
