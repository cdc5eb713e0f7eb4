"""Opening a ledger: to which API it belongs, and what changed settings drop."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError

from prefect_monitoring.config.custom_metrics import CustomMetric
from prefect_monitoring.config.settings import LedgerSettings, MetricSettings
from prefect_monitoring.ledger import schema
from prefect_monitoring.ledger import sql as rows
from prefect_monitoring.ledger.declared import (
    META,
    check_types,
    declared_bounds,
    forget_metrics,
    kept_metrics,
    outdated,
    to_keep,
)
from prefect_monitoring.ledger.dialects import claim
from prefect_monitoring.ledger.errors import LedgerError
from prefect_monitoring.ledger.ledger import Ledger
from prefect_monitoring.ledger.migrations import current_revision, migrate, revisions
from prefect_monitoring.ledger.stored_cursors import as_json, from_json
from prefect_monitoring.model.counted_metrics import bounds_of
from prefect_monitoring.model.cursor import TASK_RUNS, Cursor, trend_cursor
from prefect_monitoring.model.series import Bounds


def open_ledger(
    url: str,
    api: str,
    *,
    bounds: Bounds,
    lookbacks: Mapping[str, float],
    now: float,
    moved_from: str = "",
    declared: Sequence[CustomMetric] = (),
) -> Ledger:
    """Opens or creates the ledger of the Prefect API at `api`, with the metrics that are `declared`.

    `lookbacks`: the cursors, and how many seconds before `now` new ones begin.

    Raises LedgerError: in use (LedgerInUseError), damaged, read-only, written by a newer version, of another API
    (unless that is `moved_from`), or a declared metric of another type.
    """
    bounds = {**bounds, **declared_bounds(declared)}
    lookbacks = {**{metric.cursor: 0.0 for metric in declared}, **lookbacks}
    with ExitStack() as undo:
        database = claim(url)
        undo.callback(database.close)
        ledger = Ledger(database, bounds, kept_metrics(declared))
        with ledger.transaction() as connection:
            database.check(connection)
            if not is_current(connection, database.name):
                migrate(connection)
            stored = rows.read_meta(connection)
            if not stored:
                begin = now - lookbacks.get(TASK_RUNS, 0.0)
                stored = {"api": api, "created_at": now, "cursors": {}, "bounds": {}, "daily_counts_from": begin}
            stored = {"daily_counts_from": now, **stored}
            _check_owner(database.name, stored["api"], api, moved_from)
            kept = stored.get(META, {})
            check_types(kept, declared, database.name)
            gone = outdated(kept, declared)
            forget_metrics(connection, gone)
            forgotten = {trend_cursor(name) for name in gone}
            _drop_rebucketed(connection, stored["bounds"], bounds)
            known_cursors = {name: cursor for name, cursor in stored["cursors"].items() if name not in forgotten}
            cursors = _cursors(known_cursors, {source: now - seconds for source, seconds in lookbacks.items()})
            # A histogram that is switched off for a while keeps its bounds, so that it continues where it stopped.
            known = {**stored["bounds"], **_plain(bounds)}
            now_kept = {META: to_keep(declared)}
            rows.write_meta(
                connection, **{**stored, "api": api, "bounds": known, "cursors": as_json(cursors), **now_kept}
            )
        ledger.created_at = stored["created_at"]
        ledger.cursors = cursors
        ledger.load()
        undo.pop_all()
    return ledger


def inspect_ledger(url: str, api: str, moved_from: str = "", declared: Sequence[CustomMetric] = ()) -> None:
    """Raises the LedgerError that `open_ledger` would raise for an existing ledger, and changes nothing."""
    database = claim(url)
    try:
        with database.engine.connect() as connection, connection.begin() as transaction:
            database.check(connection)
            is_current(connection, database.name)
            if current_revision(connection) is not None:
                stored = rows.read_meta(connection)
                _check_owner(database.name, stored["api"], api, moved_from)
                check_types(stored.get(META, {}), declared, database.name)
            transaction.rollback()
    except DatabaseError as error:
        raise database.explain(error) from error
    finally:
        database.close()


def _cursors(stored: Mapping[str, dict[str, Any]], horizons: Mapping[str, float]) -> dict[str, Cursor]:
    new = {source: Cursor(watermark=horizon, horizon=horizon) for source, horizon in horizons.items()}
    return {**new, **from_json(stored)}


def is_current(connection: sa.Connection, name: str) -> bool:
    """Whether the ledger in this database has the current tables. LedgerError when they are of a newer version."""
    current, known = current_revision(connection), revisions()
    if current is not None and current not in known:
        raise LedgerError(
            f"The ledger {name} is of revision {current}, written by a newer prefect-monitoring; this one knows"
            f" revision {known[-1]}. Run the newer release, or point ledger_url at another file (counters start anew)."
        )
    return current == known[-1]


def _check_owner(name: str, owner: str, api: str, moved_from: str) -> None:
    if owner not in (api, moved_from.rstrip("/")):
        raise LedgerError(
            f"The ledger {name} counts the runs of {owner}, but Prefect's settings name {api}. Point ledger_url at"
            f" another file for {api}; if the same server has only moved, start once with --moved-from {owner}"
        )


def _drop_rebucketed(connection: sa.Connection, stored: Mapping[str, list[float]], bounds: Bounds) -> None:
    """Drops histograms whose bounds changed: old counts cannot be distributed among new buckets."""
    for metric, limits in _plain(bounds).items():
        if stored.get(metric, limits) != limits:
            connection.execute(sa.delete(schema.series).where(schema.series.c.metric == metric))


def _plain(bounds: Bounds) -> dict[str, list[float]]:
    return {metric: [float(limit) for limit in limits] for metric, limits in bounds.items()}


def ledger_of(
    settings: LedgerSettings, metrics: MetricSettings, address: str, lookbacks: Mapping[str, float]
) -> Ledger:
    """The ledger that the settings name, for the API at `address`, as `open_ledger` opens it. Raises LedgerError."""
    return open_ledger(
        settings.ledger_url.get_secret_value(),
        address,
        bounds=bounds_of(metrics.metrics_on, lambda option: getattr(metrics, option)),
        lookbacks=lookbacks,
        now=time.time(),
        moved_from=settings.moved_from,
        declared=metrics.custom_metrics,
    )
