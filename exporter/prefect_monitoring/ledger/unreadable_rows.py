"""Rows of records that could not be read, within the caller's transaction."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict

import sqlalchemy as sa

from prefect_monitoring.ledger.schema import unreadable
from prefect_monitoring.ledger.sql import load_all, upsert
from prefect_monitoring.model.unreadable import Unreadable

Key = tuple[str, str]
"""Cursor and id."""


def load_unreadable(connection: sa.Connection) -> dict[Key, Unreadable]:
    return {(row.cursor, row.id): Unreadable(*row) for row in load_all(connection, unreadable)}


def write_unreadable(connection: sa.Connection, records: Collection[Unreadable]) -> None:
    upsert(connection, unreadable, [asdict(record) for record in records])


def delete_unreadable(connection: sa.Connection, keys: Collection[Key]) -> None:
    for cursor, identifier in keys:
        connection.execute(sa.delete(unreadable).where(unreadable.c.cursor == cursor, unreadable.c.id == identifier))


def forget_unreadable(
    connection: sa.Connection, known: Mapping[Key, Unreadable], horizons: Mapping[str, float]
) -> set[Key]:
    """Deletes records from before their source's horizon, which would not count any more; returns their keys."""
    old = {key for key, record in known.items() if record.since < horizons.get(record.cursor, 0.0)}
    delete_unreadable(connection, old)
    return old
