"""Rows of task runs and of counted log lines, within the caller's transaction."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from prefect_monitoring.ledger.schema import log_lines, task_runs
from prefect_monitoring.ledger.sql import batches, pack, unpack, upsert
from prefect_monitoring.model.changes import Changes, KnownTaskRun


def known_task_runs(connection: sa.Connection, run_ids: Collection[str]) -> dict[str, KnownTaskRun]:
    """The known task runs among `run_ids`, by id."""
    found = {}
    for batch in batches([pack(run_id) for run_id in run_ids]):
        for row in connection.execute(sa.select(task_runs).where(task_runs.c.run_id.in_(batch))):
            run = _known_task_run(row)
            found[run.run_id] = run
    return found


def _known_task_run(row: sa.Row[Any]) -> KnownTaskRun:
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


def counted_lines(connection: sa.Connection, log_ids: Collection[str]) -> set[str]:
    """Which of `log_ids` are counted."""
    found = set()
    for batch in batches([pack(log_id) for log_id in log_ids]):
        query = sa.select(log_lines.c.log_id).where(log_lines.c.log_id.in_(batch))
        found |= {unpack(log_id) for log_id in connection.scalars(query)}
    return found


def write_task_runs(connection: sa.Connection, changes: Changes) -> None:
    rows = [
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
    ]
    upsert(connection, task_runs, rows)


def write_lines(connection: sa.Connection, changes: Changes) -> None:
    upsert(connection, log_lines, [{"log_id": pack(line), "at": at} for line, at in changes.lines.items()])
