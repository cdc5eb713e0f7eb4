"""Rows of the ledger: from values to tables and back. Every function works within its caller's transaction."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar
from uuid import UUID

import sqlalchemy as sa

from prefect_monitoring.ledger import schema
from prefect_monitoring.ledger.dialect import Merge
from prefect_monitoring.ledger.dialects import DIALECTS
from prefect_monitoring.model.records import Pipeline

_ID_BATCH: Final = 400  # older SQLite takes 999 bound variables, and some statements need two for each id

Item = TypeVar("Item")
PipelineIds = Mapping[Pipeline, int]
Column = sa.ColumnElement[Any]


def pack(identifier: str) -> bytes:
    """A UUID as 16 bytes, because every row has two of them."""
    return bytes.fromhex(identifier.replace("-", ""))


def unpack(packed: bytes) -> str:
    return str(UUID(bytes=packed))


def batches(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), _ID_BATCH):
        yield items[start : start + _ID_BATCH]


def load_all(connection: sa.Connection, table: sa.Table) -> list[Any]:
    return list(connection.execute(sa.select(table)))


def replaced(_stored: Column, new: Column) -> Column:
    return new


def added(stored: Column, new: Column) -> Column:
    return stored + new


def greatest(stored: Column, new: Column) -> Column:
    return sa.case((stored > new, stored), else_=new)


def total(column: Column) -> Column:
    """The sum of a column, 0 without rows."""
    return sa.func.coalesce(sa.func.sum(column), 0)


def number_from(connection: sa.Connection, column: sa.Column[int], items: Sequence[Item]) -> dict[Item, int]:
    """Numbers for new rows with the primary key `column`. Only one process writes, so they cannot collide."""
    if not items:
        return {}
    last = connection.scalar(sa.select(sa.func.coalesce(sa.func.max(column), 0)))
    return {item: number for number, item in enumerate(items, (last or 0) + 1)}


def upsert(connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]], **merges: Merge) -> None:
    """Writes `rows`, which have the same columns; columns of existing rows are `replaced` or merged."""
    if rows:
        columns = {column.name: merges.get(column.name, replaced) for column in table.columns if not column.primary_key}
        statement = DIALECTS[connection.dialect.name].upsert(table, columns)
        insert_all(connection, statement, rows)


def insert_all(connection: sa.Connection, statement: sa.Insert, rows: Sequence[Mapping[str, Any]]) -> None:
    """Executes an insert for each of `rows`, which have the same columns."""
    if rows:
        DIALECTS[connection.dialect.name].insert_all(connection, statement, rows)


def read_meta(connection: sa.Connection) -> dict[str, Any]:
    return {row.key: json.loads(row.value) for row in load_all(connection, schema.meta)}


def write_meta(connection: sa.Connection, **values: object) -> None:
    upsert(connection, schema.meta, [{"key": key, "value": json.dumps(value)} for key, value in values.items()])
