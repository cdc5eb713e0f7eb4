"""Rows of hourly and daily rollups, within the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import sqlalchemy as sa

from prefect_monitoring.ledger import schema
from prefect_monitoring.ledger.sql import PipelineIds, added, batches, greatest, upsert
from prefect_monitoring.model.changes import Changes, Rollup
from prefect_monitoring.model.units import DAY, HOUR


def write_rollups(connection: sa.Connection, changes: Changes, ids: PipelineIds) -> None:
    """Adds the changes to hours and days."""
    for table, grain in ((schema.hourly_rollups, HOUR), (schema.daily_rollups, DAY)):
        sums: dict[tuple[int, int], Rollup] = {}
        for (pipeline, hour), change in changes.rollups.items():
            more = sums.setdefault((ids[pipeline], hour // grain * grain), Rollup())
            more.good += change.good
            more.bad += change.bad
            more.timed += change.timed
            more.seconds += change.seconds
        rows = [{"pipeline_id": number, "start": start, **asdict(more)} for (number, start), more in sums.items()]
        upsert(connection, table, rows, good=added, bad=added, timed=added, seconds=added)
    moved = [key for key, change in changes.rollups.items() if change.timed or change.seconds]
    _write_medians(connection, [(ids[pipeline], hour) for pipeline, hour in moved])


def _write_medians(connection: sa.Connection, hours: Sequence[tuple[int, int]]) -> None:
    """Writes the lower median duration of completed runs, for hours whose runs the ledger still has."""
    runs, rollups = schema.flow_runs, schema.hourly_rollups
    for batch in batches(sorted(hours)):
        touched = sa.values(sa.column("number", sa.Integer), sa.column("hour", sa.BigInteger), name="touched")
        chosen = touched.data(list(batch)).cte()
        is_within = (runs.c.ended_at >= chosen.c.hour) & (runs.c.ended_at < chosen.c.hour + HOUR)
        completed = (runs.c.pipeline_id == chosen.c.number) & (runs.c.state_type == "COMPLETED") & is_within
        each = (chosen.c.number, chosen.c.hour)
        ranked = (
            sa.select(
                chosen,
                runs.c.duration,
                sa.func.row_number().over(partition_by=each, order_by=runs.c.duration).label("rank"),
                sa.func.count().over(partition_by=each).label("runs"),
            )
            .join_from(chosen, runs, completed)
            .where(runs.c.duration.is_not(None))
            .subquery()
        )
        middle = sa.select(ranked).where(ranked.c.rank == (ranked.c.runs + 1) // 2)
        medians = [{"of": row.number, "at": row.hour, "took": row.duration} for row in connection.execute(middle).all()]
        if medians:
            at = (rollups.c.pipeline_id == sa.bindparam("of")) & (rollups.c.start == sa.bindparam("at"))
            connection.execute(sa.update(rollups).where(at).values(median=sa.bindparam("took")), medians)


def write_last_outcomes(connection: sa.Connection, changes: Changes, ids: PipelineIds) -> None:
    rows = [
        {"pipeline_id": ids[pipeline], "state": state, "at": at}
        for (pipeline, state), at in changes.last_outcomes.items()
    ]
    upsert(connection, schema.last_outcomes, rows, at=greatest)
