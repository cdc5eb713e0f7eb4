"""Rows of the daily increases (UTC) of some counters, within the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from prefect_monitoring.ledger.schema import SERIES_KEY, daily_counts
from prefect_monitoring.ledger.series_rows import key_columns, series_key
from prefect_monitoring.ledger.sql import added, total, upsert
from prefect_monitoring.model.changes import Moment, SeriesKey
from prefect_monitoring.model.counted_metrics import BY_DAY
from prefect_monitoring.model.period import Growth, Period
from prefect_monitoring.model.units import DAY


def write_daily_counts(connection: sa.Connection, moments: Iterable[Moment]) -> None:
    """Adds the moments of the counters that are kept by day to their days."""
    sums: dict[tuple[int, SeriesKey], Growth] = {}
    for key, at, amount in moments:
        if key.metric in BY_DAY:
            day = int(at // DAY) * DAY
            sums[day, key] = sums.get((day, key), Growth()).plus(amount)
    rows = [
        {"start": day, **key_columns(key), "amount": more.amount, "seen": more.seen}
        for (day, key), more in sums.items()
    ]
    upsert(connection, daily_counts, rows, amount=added, seen=added)


def growth_within(connection: sa.Connection, period: Period) -> dict[SeriesKey, Growth]:
    """The increase of each counter that is kept by day, over the days of the period."""
    keys = [daily_counts.c[name] for name in SERIES_KEY]
    sums = (total(daily_counts.c.amount).label("amount"), total(daily_counts.c.seen).label("seen"))
    days = (daily_counts.c.start >= period.start) & (daily_counts.c.start < period.end)
    rows = connection.execute(sa.select(*keys, *sums).where(days).group_by(*keys))
    return {series_key(row): Growth(float(row.amount), int(row.seen)) for row in rows}
