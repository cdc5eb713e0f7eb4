"""The share of a flow run's time in which each of its tasks was running, to find out why a pipeline is slow."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from prefect_monitoring.ledger.schema import task_runs
from prefect_monitoring.ledger.sql import batches

Span = tuple[float, float]


def time_shares(connection: sa.Connection, runs: Iterable[sa.Row[Any]]) -> dict[bytes, dict[str, float]]:
    """The share of each run's wall time, 0 to 1, in which at least one run of a task was running, by run id and task.

    `runs` are rows of the ledger's finished flow runs. A retried task run counts as running for its total run
    time just before its end, because the times of its waits are unknown.
    """
    timed = {run.run_id: run for run in runs if run.duration}
    spans: defaultdict[tuple[bytes, str], list[Span]] = defaultdict(list)
    columns = (task_runs.c.flow_run_id, task_runs.c.task, task_runs.c.ended_at, task_runs.c.run_time)
    for batch in batches(sorted(timed)):
        query = sa.select(*columns).where(task_runs.c.flow_run_id.in_(batch))
        for run_id, task, ended_at, run_time in connection.execute(query):
            spans[run_id, task].append((ended_at - run_time, ended_at))
    shares: defaultdict[bytes, dict[str, float]] = defaultdict(dict)
    for (run_id, task), task_spans in spans.items():
        run = timed[run_id]
        shares[run_id][task] = covered(task_spans, (run.ended_at - run.duration, run.ended_at)) / run.duration
    return shares


def covered(spans: Iterable[Span], whole: Span) -> float:
    """Seconds of `whole` that lie in at least one of `spans`."""
    total, reached = 0.0, whole[0]
    for start, end in sorted(spans):
        low, high = max(start, reached), min(end, whole[1])
        total += max(high - low, 0.0)
        reached = max(reached, high)
    return total
