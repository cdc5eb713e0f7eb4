"""How a ledger of an older version becomes one of ours: each step once, in the transaction that opens the file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import sqlalchemy as sa

from prefect_monitoring.ledger import schema
from prefect_monitoring.ledger.sql import read_meta, write_meta

SCHEMA_VERSION: Final = 5


def migrate(connection: sa.Connection, version: int) -> None:
    """Brings a ledger of `version`, 0 for an empty file, to SCHEMA_VERSION."""
    if version == 0:
        schema.tables.create_all(connection)
    else:
        for step in _STEPS[version - 1 :]:
            step(connection)
    connection.exec_driver_sql(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _tasks_and_sources(connection: sa.Connection) -> None:
    """1 → 2: series by task and labels of the user's own, a cursor for each source, tables for task runs and lines."""
    connection.exec_driver_sql("ALTER TABLE series RENAME TO series_of_flow_runs")
    schema.tables.create_all(connection)
    connection.exec_driver_sql(
        "INSERT INTO series (metric, flow, deployment, detail, task, labels, value, buckets, released, updated_at)"
        " SELECT metric, flow, deployment, detail, '', '[]', value, buckets, released, updated_at"
        " FROM series_of_flow_runs"
    )
    connection.exec_driver_sql("DROP TABLE series_of_flow_runs")
    write_meta(connection, cursors={"flow_runs": read_meta(connection)["cursor"]})
    connection.execute(sa.delete(schema.meta).where(schema.meta.c.key == "cursor"))


def _unmet_and_paused(connection: sa.Connection) -> None:
    """2 → 3: since when a due start is unmet, and a deployment paused."""
    _add_instants(connection, "unmet_at", "paused_at")


def _history(connection: sa.Connection) -> None:
    """3 → 4: what a backfill writes down."""
    schema.tables.create_all(connection, [schema.history_series, schema.history])


def _called_off(connection: sa.Connection) -> None:
    """4 → 5: until when what was due is called off, which a pause does."""
    _add_instants(connection, "called_off_at")
    connection.exec_driver_sql("UPDATE dues SET called_off_at = paused_at")


def _add_instants(connection: sa.Connection, *names: str) -> None:
    """Adds columns to `dues`, where the first step has not made the table as it is today."""
    known = {column["name"] for column in sa.inspect(connection).get_columns("dues")}
    for name in names:
        if name not in known:
            connection.exec_driver_sql(f"ALTER TABLE dues ADD COLUMN {name} FLOAT")


# Step N, counted from 1, brings a ledger from version N to N + 1.
_STEPS: Final[tuple[Callable[[sa.Connection], None], ...]] = (
    _tasks_and_sources,
    _unmet_and_paused,
    _history,
    _called_off,
)
