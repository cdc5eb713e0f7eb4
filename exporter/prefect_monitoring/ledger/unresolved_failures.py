"""Runs that failed for good and are unresolved, within the caller's transaction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any

import sqlalchemy as sa

from prefect_monitoring.ledger.action_rows import has_retry_to_come, retries_of
from prefect_monitoring.ledger.flow_run_rows import known_run, rows_of
from prefect_monitoring.ledger.schema import flow_runs
from prefect_monitoring.ledger.sql import batches, pack, unpack
from prefect_monitoring.model.records import BAD_TYPES, Pipeline
from prefect_monitoring.model.run_stats import FailureKey, UnresolvedFailures


def unresolved_failures(
    connection: sa.Connection, pipelines: Mapping[int, Pipeline], since: float
) -> dict[Pipeline, UnresolvedFailures]:
    """The unresolved failures of each pipeline that has any, of runs that ended after `since`.

    A failure is resolved when its run continues or gets another state, when it is deleted, or when a later run
    replaces it. Another run can resolve it only after its hold: see `release_failures`.
    """
    failed = flow_runs.alias("failed")
    in_time = failed.c.state_type.in_(sorted(BAD_TYPES)) & (failed.c.ended_at > since) & ~failed.c.gone
    for_good = failed.c.pipeline_id.is_not(None) & ~has_retry_to_come(failed)
    unresolved = sa.func.coalesce(failed.c.held, sa.false()) | ~_has_stand_in(failed)
    columns = (failed.c.pipeline_id, failed.c.run_id, failed.c.state_id, failed.c.ended_at, failed.c.held)
    query = sa.select(*columns).where(in_time, for_good, unresolved).order_by(failed.c.ended_at, failed.c.run_id)
    rows: defaultdict[int, list[sa.Row[Any]]] = defaultdict(list)
    for row in connection.execute(query):
        if row.pipeline_id in pipelines:
            rows[row.pipeline_id].append(row)
    newest = [found[-1].run_id for found in rows.values()]
    retries = retries_of(connection, newest)
    runs = {row.run_id: row for row in rows_of(connection, newest)}
    return {
        pipelines[number]: UnresolvedFailures(
            runs=len(found),
            since=found[0].ended_at,
            newest=known_run(runs[found[-1].run_id], pipelines[number]),
            retries=retries[found[-1].run_id],
            held=frozenset((unpack(row.run_id), unpack(row.state_id)) for row in found if row.held),
        )
        for number, found in rows.items()
    }


def release_failures(connection: sa.Connection, failures: Collection[FailureKey]) -> None:
    """Ends the hold of failures that have been exposed long enough for an alert: later runs may replace them."""
    for batch in batches(sorted(failures)):
        keys = sa.tuple_(flow_runs.c.run_id, flow_runs.c.state_id)
        packed = [(pack(run_id), pack(state_id)) for run_id, state_id in batch]
        connection.execute(sa.update(flow_runs).where(keys.in_(packed)).values(held=False))


def _has_stand_in(failed: sa.FromClause) -> sa.ColumnElement[bool]:
    """Whether another run of the pipeline started after the failure, and completed.

    Older rows have no start; it follows from end and duration.
    """
    other = flow_runs.alias("other")
    started_at = sa.func.coalesce(other.c.started_at, other.c.ended_at - sa.func.coalesce(other.c.duration, 0.0))
    completed = (other.c.state_type == "COMPLETED") & (other.c.ended_at > failed.c.ended_at)
    same = other.c.pipeline_id == failed.c.pipeline_id
    return sa.exists().where(same, completed, started_at > failed.c.ended_at)
