"""Rows of task runs, counted log lines, last values and due dates, within the caller's transaction."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa

from prefect_monitoring import ledger_schema as schema
from prefect_monitoring.counting.schedules import UNKNOWN
from prefect_monitoring.counting.schedules import passed as after_passing
from prefect_monitoring.ledger_rows import batches, key_columns, load_all, pack, series_key, unpack, upsert
from prefect_monitoring.model.changes import Changes, Due, KnownTaskRun, LastValue, SeriesKey


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


def write_dues(connection: sa.Connection, dues: Mapping[str, Due]) -> None:
    upsert(connection, schema.dues, [{"deployment_id": one, **asdict(due)} for one, due in dues.items()])


def load_dues(connection: sa.Connection) -> dict[str, Due]:
    return {
        row.deployment_id: Due(row.last_at, row.next_at, row.unmet_at, row.paused_at, row.called_off_at)
        for row in load_all(connection, schema.dues)
    }


def passed_dues(
    connection: sa.Connection, known: Mapping[str, Due], passed: Mapping[str, float], pair_ids: Mapping[str, int]
) -> dict[str, Due]:
    """The dues that move because a start that was expected then has passed; all by deployment id."""
    before = {one: known.get(one, UNKNOWN) for one in passed}
    moving = {one: at for one, at in passed.items() if at > (before[one].last_at or 0.0)}
    completed = _last_completions(connection, {pair_ids[one] for one in moving})
    return {one: after_passing(before[one], at, completed.get(pair_ids[one])) for one, at in moving.items()}


def _last_completions(connection: sa.Connection, pair_ids: Collection[int]) -> dict[int, float]:
    """When a run of each of these pairs last completed."""
    table = schema.last_outcomes
    found: dict[int, float] = {}
    for batch in batches(sorted(pair_ids)):
        query = sa.select(table.c.pair_id, table.c.at).where(table.c.pair_id.in_(batch), table.c.state == "completed")
        found.update((row.pair_id, row.at) for row in connection.execute(query))
    return found


def counted_lines(connection: sa.Connection, log_ids: Collection[str]) -> set[str]:
    """Which of `log_ids` are counted."""
    found = set()
    for batch in batches([pack(log_id) for log_id in log_ids]):
        query = sa.select(schema.log_lines.c.log_id).where(schema.log_lines.c.log_id.in_(batch))
        found |= {unpack(log_id) for log_id in connection.scalars(query)}
    return found


def load_values(connection: sa.Connection) -> dict[SeriesKey, LastValue]:
    return {series_key(row): LastValue(row.value, row.at) for row in load_all(connection, schema.last_values)}


def forget_details(connection: sa.Connection, *, task_horizon: float, lines_before: float) -> None:
    """Deletes task runs that ended before `task_horizon`, but not those of each pair's last run, and old lines."""
    runs, tasks, lines = schema.runs, schema.task_runs, schema.log_lines
    newest = sa.select(sa.func.max(runs.c.ended_at)).where(runs.c.pair_id.is_not(None)).group_by(runs.c.pair_id)
    kept = sa.select(runs.c.run_id).where(runs.c.ended_at.in_(newest))
    old = tasks.c.ended_at < task_horizon
    connection.execute(sa.delete(tasks).where(old, tasks.c.flow_run_id.is_(None) | tasks.c.flow_run_id.not_in(kept)))
    connection.execute(sa.delete(lines).where(lines.c.at < lines_before))
