"""Rows of counted trend points, within the caller's transaction."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

from prefect_monitoring.ledger.schema import trend_points
from prefect_monitoring.ledger.sql import batches, upsert


def write_points(connection: sa.Connection, points: Collection[tuple[str, str]]) -> None:
    """Stores points, by metric and id (32 hex digits)."""
    rows = [{"metric": metric, "point": bytes.fromhex(point), "gone_at": None} for metric, point in points]
    upsert(connection, trend_points, rows)


def known_points(connection: sa.Connection, metric: str) -> set[str]:
    chosen = sa.select(trend_points.c.point).where(trend_points.c.metric == metric)
    return {point.hex() for point in connection.scalars(chosen)}


def settle_points(connection: sa.Connection, metric: str, present: Collection[str], now: float, kept: float) -> None:
    """Marks points that are no longer in their store, and deletes those that have been missing for `kept` seconds.

    Not at once, because a store that is being rewritten may be read without some of its points.
    """
    gone_at, point = trend_points.c.gone_at, trend_points.c.point
    ours = trend_points.c.metric == metric
    stored = {row.point.hex(): row.gone_at for row in connection.execute(sa.select(trend_points).where(ours))}
    back = [digest for digest, since in stored.items() if since is not None and digest in present]
    gone = [digest for digest, since in stored.items() if since is None and digest not in present]
    for points, since in ((back, None), (gone, now)):
        for batch in batches([bytes.fromhex(digest) for digest in points]):
            connection.execute(sa.update(trend_points).where(ours, point.in_(batch)).values(gone_at=since))
    connection.execute(sa.delete(trend_points).where(ours, gone_at < now - kept))
