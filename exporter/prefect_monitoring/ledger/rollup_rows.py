"""Rows of hourly and daily rollups, within the caller's transaction."""

from __future__ import annotations

from dataclasses import asdict

import sqlalchemy as sa

from prefect_monitoring.ledger import schema
from prefect_monitoring.ledger.sql import PipelineIds, added, greatest, upsert
from prefect_monitoring.model.changes import Changes, Rollup
from prefect_monitoring.model.units import DAY, HOUR


def write_rollups(connection: sa.Connection, changes: Changes, ids: PipelineIds) -> None:
    """Adds what changed to hours and to days."""
    for table, grain in ((schema.hourly_rollups, HOUR), (schema.daily_rollups, DAY)):
        sums: dict[tuple[int, int], Rollup] = {}
        for (pipeline, hour), one in changes.rollups.items():
            more = sums.setdefault((ids[pipeline], hour // grain * grain), Rollup())
            more.good += one.good
            more.bad += one.bad
            more.timed += one.timed
            more.seconds += one.seconds
        rows = [{"pipeline_id": number, "start": start, **asdict(more)} for (number, start), more in sums.items()]
        upsert(connection, table, rows, good=added, bad=added, timed=added, seconds=added)


def write_last_outcomes(connection: sa.Connection, changes: Changes, ids: PipelineIds) -> None:
    rows = [
        {"pipeline_id": ids[pipeline], "state": state, "at": at}
        for (pipeline, state), at in changes.last_outcomes.items()
    ]
    upsert(connection, schema.last_outcomes, rows, at=greatest)
