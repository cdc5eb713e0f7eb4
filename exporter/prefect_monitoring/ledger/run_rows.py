"""Rows of task runs, counted log lines, last values and due dates, within the caller's transaction."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from prefect_monitoring.ledger import schema
from prefect_monitoring.ledger.series_rows import key_columns
from prefect_monitoring.ledger.sql import PairIds, batches, insert_all, pack, unpack, upsert
from prefect_monitoring.model.changes import Changes, KnownRun, KnownTaskRun
from prefect_monitoring.model.records import Pair


def known_task_runs(connection: sa.Connection, run_ids: Collection[str]) -> dict[str, KnownTaskRun]:
    """The remembered task runs among `run_ids`."""
    table = schema.task_runs
    found = {}
    for batch in batches([pack(run_id) for run_id in run_ids]):
        for row in connection.execute(sa.select(table).where(table.c.run_id.in_(batch))):
            run = known_task_run(row)
            found[run.run_id] = run
    return found


def known_task_run(row: sa.Row[Any]) -> KnownTaskRun:
    return KnownTaskRun(
        run_id=unpack(row.run_id),
        flow_run_id=unpack(row.flow_run_id) if row.flow_run_id is not None else None,
        task=row.task,
        state_id=unpack(row.state_id),
        kind=row.kind,
        state_at=row.state_at,
        attempts=row.attempts,
        started_at=row.started_at,
        ended_at=row.ended_at,
        run_time=row.run_time,
    )


def write_details(connection: sa.Connection, changes: Changes) -> None:
    """Everything of `changes` that this module knows of."""
    _write_task_runs(connection, changes)
    upsert(connection, schema.log_lines, [{"log_id": pack(line), "at": at} for line, at in changes.lines.items()])
    values = [{**key_columns(key), "value": one.value, "at": one.at} for key, one in changes.values.items()]
    upsert(connection, schema.last_values, values)


def _write_task_runs(connection: sa.Connection, changes: Changes) -> None:
    upsert(
        connection,
        schema.task_runs,
        [
            {
                "run_id": pack(run.run_id),
                "flow_run_id": pack(run.flow_run_id) if run.flow_run_id is not None else None,
                "task": run.task,
                "state_id": pack(run.state_id),
                "kind": run.kind,
                "state_at": run.state_at,
                "attempts": run.attempts,
                "started_at": run.started_at,
                "ended_at": run.ended_at,
                "run_time": run.run_time,
                "gone": False,
            }
            for run in changes.task_runs.values()
        ],
    )


def counted_lines(connection: sa.Connection, log_ids: Collection[str]) -> set[str]:
    """Which of `log_ids` are counted."""
    found = set()
    for batch in batches([pack(log_id) for log_id in log_ids]):
        query = sa.select(schema.log_lines.c.log_id).where(schema.log_lines.c.log_id.in_(batch))
        found |= {unpack(log_id) for log_id in connection.scalars(query)}
    return found


def known_run(row: sa.Row[Any], pair: Pair | None) -> KnownRun:
    return KnownRun(
        run_id=unpack(row.run_id),
        pair=pair,
        state_id=unpack(row.state_id),
        state_type=row.state_type,
        state_at=row.state_at,
        attempts=row.attempts,
        start_counted=row.start_counted,
        ended_at=row.ended_at,
        duration=row.duration,
        name=row.name,
        cause=row.cause,
    )


def write_runs(connection: sa.Connection, changes: Changes, ids: PairIds) -> None:
    upsert(
        connection,
        schema.runs,
        [
            {
                "run_id": pack(run.run_id),
                "pair_id": ids[run.pair] if run.pair is not None else None,
                "state_id": pack(run.state_id),
                "state_type": run.state_type,
                "state_at": run.state_at,
                "attempts": run.attempts,
                "start_counted": run.start_counted,
                "ended_at": run.ended_at,
                "duration": run.duration,
                "name": run.name,
                "cause": run.cause,
                "gone": False,
            }
            for run in changes.runs.values()
        ],
    )
    if changes.counted:
        # No upsert: counting a state twice must fail, not pass unseen.
        rows = [{"run_id": pack(run_id), "state_id": pack(state_id)} for run_id, state_id in changes.counted]
        insert_all(connection, sa.insert(schema.counted), rows)
