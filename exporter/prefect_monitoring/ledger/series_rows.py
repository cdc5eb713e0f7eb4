"""Rows of series and last values, within the caller's transaction."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa

from prefect_monitoring.ledger import schema
from prefect_monitoring.ledger.schema import SERIES_KEY
from prefect_monitoring.ledger.sql import load_all, upsert
from prefect_monitoring.model.changes import LastValue, SeriesKey
from prefect_monitoring.model.records import Pipeline
from prefect_monitoring.model.series import Series


def key_columns(key: SeriesKey) -> dict[str, str]:
    """A series' key as columns."""
    return {
        "metric": key.metric,
        "flow": key.pipeline.flow,
        "deployment": key.pipeline.deployment,
        "detail": key.detail,
        "task": key.task,
        "labels": json.dumps(key.labels, ensure_ascii=False) if key.labels else "[]",
    }


def series_key(row: sa.Row[Any]) -> SeriesKey:
    labels = tuple((name, value) for name, value in json.loads(row.labels)) if row.labels != "[]" else ()
    return SeriesKey(row.metric, Pipeline(row.flow, row.deployment), row.detail, row.task, labels)


def delete_keys(connection: sa.Connection, table: sa.Table, keys: Collection[SeriesKey]) -> None:
    if keys:
        connection.execute(sa.delete(table).where(*_is_key(table)), [_key_parameters(key) for key in keys])


def _is_key(table: sa.Table) -> list[sa.ColumnElement[bool]]:
    return [table.c[name] == sa.bindparam(f"a_{name}") for name in SERIES_KEY]


def _key_parameters(key: SeriesKey) -> dict[str, str]:
    return {f"a_{name}": value for name, value in key_columns(key).items()}


def write_series(connection: sa.Connection, moved: Mapping[SeriesKey, Series], now: float) -> None:
    upsert(
        connection,
        schema.series,
        [
            {
                **key_columns(key),
                "value": one.value,
                "buckets": list(one.buckets),
                "released": one.released,
                "updated_at": now,
            }
            for key, one in moved.items()
        ],
    )


def touch_series(connection: sa.Connection, keys: Collection[SeriesKey], now: float) -> None:
    """Restarts the time to live of these series."""
    if keys:
        touched = sa.update(schema.series).where(*_is_key(schema.series)).values(updated_at=now)
        connection.execute(touched, [_key_parameters(key) for key in keys])


def write_values(connection: sa.Connection, values: Mapping[SeriesKey, LastValue]) -> None:
    rows = [{**key_columns(key), "value": one.value, "at": one.at} for key, one in values.items()]
    upsert(connection, schema.last_values, rows)


def load_series(connection: sa.Connection) -> dict[SeriesKey, Series]:
    return {
        series_key(row): Series(row.value, tuple(row.buckets), row.released)
        for row in load_all(connection, schema.series)
    }


def pipelines_counted(connection: sa.Connection, metric: str) -> list[Pipeline]:
    """The pipelines that have series of a metric."""
    names = (schema.series.c.flow, schema.series.c.deployment)
    rows = connection.execute(sa.select(*names).where(schema.series.c.metric == metric).distinct())
    return [Pipeline(row.flow, row.deployment) for row in rows]


def load_values(connection: sa.Connection) -> dict[SeriesKey, LastValue]:
    return {series_key(row): LastValue(row.value, row.at) for row in load_all(connection, schema.last_values)}
