"""Task runs: outcomes, time, retries, and which task a flow run's time goes to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from prefect_monitoring.metrics.family import Metric, Row
from prefect_monitoring.metrics.rows import PAIR, kept, standing
from prefect_monitoring.model import counted_metrics
from prefect_monitoring.snapshot.model import Snapshot

TASK: Final = (*PAIR, "task")


def _active(snapshot: Snapshot) -> Iterator[Row]:
    if snapshot.active_tasks is not None:
        for (pair, task, state), count in snapshot.active_tasks.items():
            yield (pair.flow, pair.deployment, task, state), count


def _durations(snapshot: Snapshot) -> Iterator[Row]:
    """Over all deployments of a flow: buckets for each of them would be many."""
    for key, series in snapshot.series.get(counted_metrics.TASK_DURATION, {}).items():
        yield (key.pair.flow, key.task), series


METRICS: Final = (
    Metric(
        counted_metrics.TASK_OUTCOMES,
        "counter",
        "Terminal states entered by task runs; a task run served from the cache is `cached`, not `completed`.",
        (*TASK, "state"),
        kept(counted_metrics.TASK_OUTCOMES, "task", "detail"),
    ),
    Metric(
        counted_metrics.TASK_SECONDS,
        "counter",
        "Seconds that finished task runs spent running; waiting for a retry is not part of it.",
        TASK,
        kept(counted_metrics.TASK_SECONDS, "task"),
    ),
    Metric(
        counted_metrics.TASK_RETRIES,
        "counter",
        "Attempts of task runs beyond their first. Task runs of a flow run's next attempt are task runs of their own.",
        TASK,
        kept(counted_metrics.TASK_RETRIES, "task"),
    ),
    Metric(
        counted_metrics.TASK_FAILURES,
        "counter",
        "Failed and crashed attempts of task runs by cause; those that a retry saved are told from their log lines.",
        (*TASK, "cause"),
        kept(counted_metrics.TASK_FAILURES, "task", "detail"),
    ),
    Metric(
        "prefect_task_run_time_share_ratio",
        "gauge",
        "Share of the last finished flow run's time in which at least one run of the task was running, 0 to 1.",
        TASK,
        standing(lambda one: (((task,), share) for task, share in one.time_shares.items())),
    ),
    Metric(
        "prefect_task_runs",
        "gauge",
        "Task runs under way now, by state, in flow runs that are running.",
        (*TASK, "state"),
        _active,
    ),
    Metric(
        counted_metrics.TASK_DURATION,
        "histogram",
        "Seconds that completed task runs spent running, over all deployments of the flow.",
        ("flow", "task"),
        _durations,
        lambda snapshot: snapshot.bounds.get(counted_metrics.TASK_DURATION, ()),
        by_default=False,
    ),
)
