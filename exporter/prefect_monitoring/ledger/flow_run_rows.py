"""Rows of flow runs and of their states that are counted, within the caller's transaction."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from prefect_monitoring.ledger.schema import counted_states, flow_runs
from prefect_monitoring.ledger.sql import PipelineIds, batches, insert_all, pack, unpack, upsert
from prefect_monitoring.model.changes import Changes, KnownRun
from prefect_monitoring.model.records import BAD_TYPES, Pipeline


def known_run(row: sa.Row[Any], pipeline: Pipeline | None) -> KnownRun:
    return KnownRun(
        run_id=unpack(row.run_id),
        pipeline=pipeline,
        state_id=unpack(row.state_id),
        state_type=row.state_type,
        state_at=row.state_at,
        attempts=row.attempts,
        start_counted=row.start_counted,
        ended_at=row.ended_at,
        duration=row.duration,
        name=row.name,
        cause=row.cause,
        pattern=row.pattern or "",
        started_at=row.started_at,
        held=bool(row.held),
        start_delay=row.start_delay,
        message=row.message or "",
    )


def rows_of(connection: sa.Connection, run_ids: Sequence[bytes]) -> Iterator[sa.Row[Any]]:
    """The rows of the known runs among `run_ids`."""
    for batch in batches(run_ids):
        yield from connection.execute(sa.select(flow_runs).where(flow_runs.c.run_id.in_(batch)))


def known_runs(
    connection: sa.Connection, run_ids: Collection[str], pipelines: Mapping[int, Pipeline]
) -> tuple[dict[str, KnownRun], set[tuple[str, str]]]:
    """The known runs among `run_ids`, by id, and their counted states, by (run id, state id)."""
    found: dict[str, KnownRun] = {}
    counted: set[tuple[str, str]] = set()
    packed = [pack(run_id) for run_id in run_ids]
    for row in rows_of(connection, packed):
        run = known_run(row, pipelines.get(row.pipeline_id))
        found[run.run_id] = run
    for batch in batches(packed):
        for row in connection.execute(sa.select(counted_states).where(counted_states.c.run_id.in_(batch))):
            counted.add((unpack(row.run_id), unpack(row.state_id)))
    return found, counted


def failed_since(connection: sa.Connection, since: float, pipelines: Mapping[int, Pipeline]) -> list[KnownRun]:
    """Runs whose last state is failed or crashed and that ended after `since`; `pipelines` by their numbers."""
    failed = flow_runs.c.state_type.in_(BAD_TYPES) & (flow_runs.c.ended_at > since) & ~flow_runs.c.gone
    rows = connection.execute(sa.select(flow_runs).where(failed))
    return [known_run(row, pipelines.get(row.pipeline_id)) for row in rows]


def pipeline_numbers(connection: sa.Connection, run_ids: Collection[str]) -> dict[str, int | None]:
    """The pipeline number of each known run among `run_ids`; None for runs that the filters exclude."""
    found: dict[str, int | None] = {}
    for batch in batches([pack(run_id) for run_id in run_ids]):
        query = sa.select(flow_runs.c.run_id, flow_runs.c.pipeline_id).where(flow_runs.c.run_id.in_(batch))
        found.update((unpack(run_id), number) for run_id, number in connection.execute(query).tuples())
    return found


def write_runs(connection: sa.Connection, changes: Changes, ids: PipelineIds, *, is_baseline: bool) -> None:
    """Writes runs and their newly counted states. Failures of the baseline are not held."""
    rows = [
        {
            "run_id": pack(run.run_id),
            "pipeline_id": ids[run.pipeline] if run.pipeline is not None else None,
            "state_id": pack(run.state_id),
            "state_type": run.state_type,
            "state_at": run.state_at,
            "attempts": run.attempts,
            "start_counted": run.start_counted,
            "ended_at": run.ended_at,
            "duration": run.duration,
            "name": run.name,
            "cause": run.cause,
            "pattern": run.pattern,
            "started_at": run.started_at,
            "held": run.held and not is_baseline,
            "start_delay": run.start_delay,
            "message": run.message,
            "gone": False,
        }
        for run in changes.runs.values()
    ]
    upsert(connection, flow_runs, rows)
    # No upsert: counting a state twice must fail.
    counted = [
        {"run_id": pack(run_id), "state_id": pack(state_id), "failed_at": changes.failed_at.get((run_id, state_id))}
        for run_id, state_id in changes.counted
    ]
    insert_all(connection, sa.insert(counted_states), counted)
