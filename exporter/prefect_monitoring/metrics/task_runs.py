"""Task runs: outcomes, time, retries, and the tasks' shares of a flow run's time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from prefect_monitoring.metrics.family import Metric, Row
from prefect_monitoring.metrics.rows import PIPELINE, counted, of_run_stats
from prefect_monitoring.model.counted_metrics import (
    TASK_DURATION,
    TASK_FAILURES,
    TASK_OUTCOMES,
    TASK_RETRIES,
    TASK_SECONDS,
)
from prefect_monitoring.snapshot.model import Snapshot

TASK: Final = (*PIPELINE, "task")


def _active(snapshot: Snapshot) -> Iterator[Row]:
    if snapshot.active_tasks is not None:
        for (pipeline, task, state), count in snapshot.active_tasks.items():
            yield (pipeline.flow, pipeline.deployment, task, state), count


METRICS: Final = (
    counted(
        TASK_OUTCOMES,
        "Terminal states entered by task runs; a task run served from the cache is `cached`, not `completed`.",
    ),
    counted(
        TASK_SECONDS,
        "Seconds that finished task runs spent running; waiting for a retry is not part of it.",
    ),
    counted(
        TASK_RETRIES,
        "Attempts of task runs beyond their first. A flow run's next attempt has new task runs.",
    ),
    counted(
        TASK_FAILURES,
        "Failed and crashed attempts of task runs by cause; those that a retry saved are read from log lines.",
    ),
    Metric(
        "prefect_task_run_time_share_ratio",
        "gauge",
        "Share of the last finished flow run's time in which at least one run of the task was running, 0 to 1.",
        TASK,
        of_run_stats(lambda stats: (((task,), share) for task, share in stats.time_shares.items())),
    ),
    Metric(
        "prefect_task_runs",
        "gauge",
        "Unfinished task runs of running flow runs, by state.",
        (*TASK, "state"),
        _active,
    ),
    counted(
        TASK_DURATION,
        "Seconds that completed task runs spent running, over all deployments of the flow.",
    ),
)
