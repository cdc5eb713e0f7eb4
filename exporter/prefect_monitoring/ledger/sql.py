"""Rows of the ledger: from values to tables and back. Every function works within its caller's transaction."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final
from uuid import UUID

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from prefect_monitoring.ledger import schema
from prefect_monitoring.model.records import Pair

_ID_BATCH: Final = 500  # well below SQLite's limit of bound variables

PairIds = Mapping[Pair, int]


def pack(identifier: str) -> bytes:
    """A UUID in the 16 bytes it needs; two of them stand in every row."""
    return bytes.fromhex(identifier.replace("-", ""))


def unpack(packed: bytes) -> str:
    return str(UUID(bytes=packed))


def batches(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), _ID_BATCH):
        yield items[start : start + _ID_BATCH]


def load_all(connection: sa.Connection, table: sa.Table) -> list[Any]:
    return list(connection.execute(sa.select(table)))


def upsert(connection: sa.Connection, table: sa.Table, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        statement = insert(table)
        others = {c.name: statement.excluded[c.name] for c in table.columns if not c.primary_key}
        insert_all(
            connection, statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=others), rows
        )


def insert_all(connection: sa.Connection, statement: sa.Insert, rows: Sequence[Mapping[str, Any]]) -> None:
    """Executes an insert for each of `rows`, which name the same columns.

    Not through Connection.execute: what that does with the values of each row costs three times what SQLite does.
    """
    if not rows:
        return
    compiled = statement.compile(dialect=connection.dialect, column_keys=list(rows[0]))
    names = compiled.positiontup or ()
    as_json = [name for name in names if isinstance(statement.table.c[name].type, sa.JSON)]
    if as_json:
        rows = [{**row, **{name: orjson.dumps(row[name]).decode() for name in as_json}} for row in rows]
    connection.exec_driver_sql(str(compiled), list(map(itemgetter(*names), rows)))


def read_meta(connection: sa.Connection) -> dict[str, Any]:
    return {row.key: json.loads(row.value) for row in load_all(connection, schema.meta)}


def write_meta(connection: sa.Connection, **values: object) -> None:
    upsert(connection, schema.meta, [{"key": key, "value": json.dumps(value)} for key, value in values.items()])
