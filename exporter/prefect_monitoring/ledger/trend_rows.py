"""Rows of the trend points that are counted, within the caller's transaction."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

from prefect_monitoring.ledger.schema import trend_points
from prefect_monitoring.ledger.sql import batches, upsert


def write_points(connection: sa.Connection, points: Collection[tuple[str, str]]) -> None:
    """Remembers points, by metric and id (32 hex digits)."""
    rows = [{"metric": metric, "point": bytes.fromhex(point), "gone_at": None} for metric, point in points]
    upsert(connection, trend_points, rows)


def known_points(connection: sa.Connection, metric: str) -> set[str]:
    chosen = sa.select(trend_points.c.point).where(trend_points.c.metric == metric)
    return {point.hex() for point in connection.scalars(chosen)}


def settle_points(connection: sa.Connection, metric: str, present: Collection[str], now: float, kept: float) -> None:
    """Notes which points are no longer in their store, and forgets those that have not been there for `kept` seconds.

    Not at once: a store that is being rewritten may be read without some of its points.
    """
    gone_at, point = trend_points.c.gone_at, trend_points.c.point
    ours = trend_points.c.metric == metric
    stored = {row.point.hex(): row.gone_at for row in connection.execute(sa.select(trend_points).where(ours))}
    back = [one for one, since in stored.items() if since is not None and one in present]
    gone = [one for one, since in stored.items() if since is None and one not in present]
    for points, since in ((back, None), (gone, now)):
        for batch in batches([bytes.fromhex(one) for one in points]):
            connection.execute(sa.update(trend_points).where(ours, point.in_(batch)).values(gone_at=since))
    connection.execute(sa.delete(trend_points).where(ours, gone_at < now - kept))
