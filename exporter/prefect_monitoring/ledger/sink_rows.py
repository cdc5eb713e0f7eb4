"""Rows of a sink's values, by key, as JSON; within the caller's transaction."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any, Final

import sqlalchemy as sa

from prefect_monitoring.ledger import schema
from prefect_monitoring.ledger.sql import batches, upsert

_TABLE: Final = schema.sinks


def read_sink(connection: sa.Connection, sink: str, low: str = "", high: str | None = None) -> dict[str, Any]:
    """The values of `sink`, with low <= key < high, in the order of their keys."""
    chosen = (_TABLE.c.sink == sink) & (_TABLE.c.key >= low)
    if high is not None:
        chosen &= _TABLE.c.key < high
    query = sa.select(_TABLE.c.key, _TABLE.c.value).where(chosen).order_by(_TABLE.c.key)
    return {row[0]: json.loads(row[1]) for row in connection.execute(query)}


def write_sink(connection: sa.Connection, sink: str, values: Mapping[str, Any], now: float) -> None:
    """Stores JSON-serializable `values`; existing keys are replaced."""
    upsert(
        connection,
        _TABLE,
        [{"sink": sink, "key": key, "value": json.dumps(value), "updated_at": now} for key, value in values.items()],
    )


def first_key(connection: sa.Connection, sink: str, low: str, high: str) -> str | None:
    """The first key of `sink` with low <= key < high."""
    chosen = (_TABLE.c.sink == sink) & (_TABLE.c.key >= low) & (_TABLE.c.key < high)
    first: str | None = connection.scalar(sa.select(sa.func.min(_TABLE.c.key)).where(chosen))
    return first


def forget_between(connection: sa.Connection, sink: str, low: str, high: str) -> int:
    """Deletes the values of `sink` with low <= key < high; returns how many."""
    chosen = (_TABLE.c.sink == sink) & (_TABLE.c.key >= low) & (_TABLE.c.key < high)
    return connection.execute(sa.delete(_TABLE).where(chosen)).rowcount


def forget_sink(connection: sa.Connection, sink: str, keys: Collection[str]) -> None:
    """Deletes the values of `sink` under `keys`."""
    for batch in batches(sorted(keys)):
        connection.execute(sa.delete(_TABLE).where(_TABLE.c.sink == sink, _TABLE.c.key.in_(batch)))
