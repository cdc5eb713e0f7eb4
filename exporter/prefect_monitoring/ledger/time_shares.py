"""Which share of a flow run's time each of its tasks was running: what to look at when a pipeline is slow."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from prefect_monitoring.ledger.schema import task_runs

Span = tuple[float, float]


def time_shares(connection: sa.Connection, run: sa.Row[Any] | None) -> dict[str, float]:
    """The share of `run`'s wall time, 0 to 1, in which at least one run of a task was running, by task.

    `run` is a row of the ledger's finished flow runs. A task run that was retried counts as its running time before
    its end: when it waited is not known.
    """
    if run is None or not run.duration:
        return {}
    spans: defaultdict[str, list[Span]] = defaultdict(list)
    columns = (task_runs.c.task, task_runs.c.ended_at, task_runs.c.run_time)
    for task, ended_at, run_time in connection.execute(
        sa.select(*columns).where(task_runs.c.flow_run_id == run.run_id)
    ):
        spans[task].append((ended_at - run_time, ended_at))
    whole = (run.ended_at - run.duration, run.ended_at)
    return {task: covered(mine, whole) / run.duration for task, mine in spans.items()}


def covered(spans: Iterable[Span], whole: Span) -> float:
    """Seconds of `whole` that lie in at least one of `spans`."""
    total, reached = 0.0, whole[0]
    for start, end in sorted(spans):
        low, high = max(start, reached), min(end, whole[1])
        total += max(high - low, 0.0)
        reached = max(reached, high)
    return total
