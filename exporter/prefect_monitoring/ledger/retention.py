"""What the ledger forgets, and when."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import sqlalchemy as sa

from prefect_monitoring.ledger import schema
from prefect_monitoring.ledger.schema import counted, daily, hourly, runs, series
from prefect_monitoring.ledger.series_rows import delete_keys, series_key
from prefect_monitoring.model.changes import SeriesKey
from prefect_monitoring.model.records import BAD_TYPES, Pair
from prefect_monitoring.model.units import DAY

HOURLY_KEPT: Final = 62 * DAY
DAILY_KEPT: Final = 400 * DAY


def forget_runs(connection: sa.Connection, now: float, horizon: float) -> None:
    """Deletes runs that ended before `horizon` and tallies past their time.

    A pair's newest completed run stays, and so do the failures after it: they are its standing, however old.
    """
    newer = runs.alias()
    later_good = sa.exists().where(
        newer.c.pair_id == runs.c.pair_id, newer.c.state_type == "COMPLETED", newer.c.ended_at > runs.c.ended_at
    )
    standing = runs.c.pair_id.is_not(None) & runs.c.state_type.in_(("COMPLETED", *BAD_TYPES)) & ~later_good
    connection.execute(sa.delete(runs).where(runs.c.ended_at < horizon, ~standing))
    # Deleted while they ran, or dead without a word: nobody will tell of their end.
    connection.execute(sa.delete(runs).where(runs.c.ended_at.is_(None), runs.c.state_at < horizon))
    connection.execute(sa.delete(counted).where(counted.c.run_id.not_in(sa.select(runs.c.run_id))))
    connection.execute(sa.delete(hourly).where(hourly.c.start < now - HOURLY_KEPT))
    connection.execute(sa.delete(daily).where(daily.c.start < now - DAILY_KEPT))


def expire_series(connection: sa.Connection, dead: Collection[Pair], before: float) -> set[SeriesKey]:
    """Deletes the series of `dead` pairs that nothing has touched since `before`; which they were."""
    old = connection.execute(sa.select(series).where(series.c.updated_at < before))
    expired = {key for row in old if (key := series_key(row)).pair in dead}
    delete_keys(connection, series, expired)
    return expired


def forget_details(connection: sa.Connection, *, task_horizon: float, lines_before: float) -> None:
    """Deletes task runs that ended before `task_horizon`, but not those of each pair's last run, and old lines."""
    runs, tasks, lines = schema.runs, schema.task_runs, schema.log_lines
    newest = sa.select(sa.func.max(runs.c.ended_at)).where(runs.c.pair_id.is_not(None)).group_by(runs.c.pair_id)
    kept = sa.select(runs.c.run_id).where(runs.c.ended_at.in_(newest))
    old = tasks.c.ended_at < task_horizon
    connection.execute(sa.delete(tasks).where(old, tasks.c.flow_run_id.is_(None) | tasks.c.flow_run_id.not_in(kept)))
    connection.execute(sa.delete(lines).where(lines.c.at < lines_before))
