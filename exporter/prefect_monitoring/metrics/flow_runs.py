"""Flow runs: outcomes, durations, delays, active runs, and run statistics of each pipeline."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from prefect_monitoring.metrics.family import Metric, Row
from prefect_monitoring.metrics.rows import PIPELINE, counted, of_run_stats
from prefect_monitoring.model.counted_metrics import DURATION, FAILURES, OUTCOMES, RETRIES, START_DELAY
from prefect_monitoring.model.records import Pipeline
from prefect_monitoring.model.run_quantiles import ByWindow, RunQuantiles
from prefect_monitoring.model.run_stats import RunStats
from prefect_monitoring.snapshot.model import Snapshot


def _last_duration(stats: RunStats) -> Iterator[Row]:
    if stats.last_duration is not None:
        yield (), stats.last_duration


def _last_failure(stats: RunStats) -> Iterator[Row]:
    if (run := stats.last_failure) is not None and not stats.last_failure_gone:
        yield (run.run_id, run.name, run.cause, run.message), 1.0


def _active(snapshot: Snapshot) -> Iterator[Row]:
    if snapshot.active is not None:
        for (pipeline, pool, state), count in snapshot.active.counts.items():
            yield (pipeline.flow, pipeline.deployment, pool, state), count


def _oldest(snapshot: Snapshot) -> Iterator[Row]:
    if snapshot.active is not None:
        for (pipeline, state), since in snapshot.active.oldest.items():
            yield (*_names(pipeline), state), since


def _orphans(snapshot: Snapshot) -> Iterator[Row]:
    if snapshot.active is not None:
        for pipeline, count in snapshot.active.orphans.items():
            yield _names(pipeline), count


def _heartbeats(snapshot: Snapshot) -> Iterator[Row]:
    if snapshot.active is not None:
        for pipeline, at in snapshot.active.heartbeats.items():
            yield _names(pipeline), at


def _unresponsive(snapshot: Snapshot) -> Iterator[Row]:
    if snapshot.active is not None:
        for pipeline, count in snapshot.active.unresponsive.items():
            yield _names(pipeline), count


def _names(pipeline: Pipeline) -> tuple[str, str]:
    return pipeline.flow, pipeline.deployment


def _quantiles(values: Callable[[RunQuantiles], ByWindow]) -> Callable[[Snapshot], Iterator[Row]]:
    def rows(snapshot: Snapshot) -> Iterator[Row]:
        for pipeline, quantiles in snapshot.quantiles.items():
            for labels, seconds in values(quantiles).items():
                yield (*_names(pipeline), *labels), seconds

    return rows


METRICS: Final = (
    counted(
        OUTCOMES,
        "Terminal states entered by flow runs. A re-run of a finished run that ends again is a new outcome.",
    ),
    counted(
        DURATION,
        "Seconds that completed flow runs took, from the first Running after the previous terminal state to the end.",
    ),
    counted(
        START_DELAY,
        "Seconds from a flow run's expected start to its first start; waiting for a retry is not part of it.",
    ),
    counted(
        RETRIES,
        "Attempts of flow runs beyond their first; resuming after a pause does not count.",
    ),
    counted(
        FAILURES,
        "Failed, timed-out and crashed outcomes of flow runs, by cause, from the state's message.",
    ),
    Metric(
        "prefect_flow_runs",
        "gauge",
        "Unfinished flow runs by state; runs that are only scheduled for later are not counted.",
        (*PIPELINE, "work_pool", "state"),
        _active,
    ),
    Metric(
        "prefect_flow_run_oldest_state_timestamp_seconds",
        "gauge",
        "When the oldest flow run in the state entered it, minus earlier attempts; late, awaiting_retry: when due.",
        (*PIPELINE, "state"),
        _oldest,
    ),
    Metric(
        "prefect_flow_run_orphans",
        "gauge",
        "Unfinished subflow runs whose parent run has finished.",
        PIPELINE,
        _orphans,
    ),
    Metric(
        "prefect_flow_run_heartbeat_timestamp_seconds",
        "gauge",
        "Last heartbeat of the running flow run that has been silent for the longest time, by its machine's clock.",
        PIPELINE,
        _heartbeats,
    ),
    Metric(
        "prefect_flow_runs_unresponsive",
        "gauge",
        "Running flow runs that missed three heartbeats; absent where no running flow run sends heartbeats.",
        PIPELINE,
        _unresponsive,
    ),
    Metric(
        "prefect_flow_run_last_outcome_timestamp_seconds",
        "gauge",
        "When a flow run last entered this terminal state.",
        (*PIPELINE, "state"),
        of_run_stats(lambda stats: (((state,), at) for state, at in stats.last_outcomes.items())),
    ),
    Metric(
        "prefect_flow_run_last_duration_seconds",
        "gauge",
        "Seconds that the last completed flow run took.",
        PIPELINE,
        of_run_stats(_last_duration),
    ),
    Metric(
        "prefect_flow_run_consecutive_failures",
        "gauge",
        "Flow runs that failed, timed out or crashed since the last completed one; a pending retry does not count.",
        PIPELINE,
        of_run_stats(lambda stats: [((), stats.consecutive_failures)]),
    ),
    Metric(
        "prefect_flow_run_failures_unresolved",
        "gauge",
        "Flow runs that failed for good and that no retry, later run or deletion resolved; for some hours at most.",
        PIPELINE,
        of_run_stats(lambda stats: [((), stats.unresolved)]),
    ),
    Metric(
        "prefect_flow_run_unresolved_since_timestamp_seconds",
        "gauge",
        "When the oldest unresolved failure of a flow run ended; absent without one.",
        PIPELINE,
        of_run_stats(lambda stats: [((), stats.unresolved_since)] if stats.unresolved_since is not None else []),
    ),
    Metric(
        "prefect_flow_run_storm_timestamp_seconds",
        "gauge",
        "When a flow run failed that is part of a storm: several pipelines that fail of one cause within minutes.",
        (*PIPELINE, "cause"),
        lambda snapshot: (((*_names(one.pipeline), one.cause), one.at) for one in snapshot.storms),
    ),
    Metric(
        "prefect_flow_run_last_failure_info",
        "gauge",
        "The newest unresolved failure, else the last since a flow run completed, for links; gone when it was deleted.",
        (*PIPELINE, "flow_run_id", "flow_run_name", "cause", "message"),
        of_run_stats(_last_failure),
    ),
    Metric(
        "prefect_flow_run_failing_since_timestamp_seconds",
        "gauge",
        "When a flow run first failed since the last completed one, also if it was retried; absent without such a run.",
        PIPELINE,
        of_run_stats(lambda stats: [((), stats.failing_since)] if stats.failing_since is not None else []),
    ),
    Metric(
        "prefect_flow_run_failure_timestamp_seconds",
        "gauge",
        "When the nth newest failed flow run of the last day ended, for rules such as three failures within an hour.",
        (*PIPELINE, "nth"),
        of_run_stats(lambda stats: (((str(nth),), at) for nth, at in enumerate(stats.recent_failures, 1))),
    ),
    Metric(
        "prefect_flow_run_duration_baseline_seconds",
        "gauge",
        "Median seconds of completed flow runs over 1d, 7d, 30d, 30d_before, same_weekday (1d in the last 4 weeks).",
        (*PIPELINE, "window"),
        of_run_stats(lambda stats: (((window,), median) for window, median in stats.baselines.items())),
    ),
    Metric(
        "prefect_flow_run_duration_quantile_seconds",
        "gauge",
        "Exact quantiles of the seconds that the completed flow runs of a window took; each is the duration of a run.",
        (*PIPELINE, "window", "quantile"),
        _quantiles(lambda quantiles: quantiles.duration),
    ),
    Metric(
        "prefect_flow_run_start_delay_quantile_seconds",
        "gauge",
        "Exact quantiles of the seconds from the expected to the first start, of flow runs that ended in a window.",
        (*PIPELINE, "window", "quantile"),
        _quantiles(lambda quantiles: quantiles.start_delay),
    ),
    Metric(
        "prefect_flow_run_window_runs",
        "gauge",
        "Flow runs by last state, good (completed) or bad (failed, timed out, crashed), over the same windows and slo.",
        (*PIPELINE, "window", "result"),
        of_run_stats(lambda stats: ((key, runs) for key, runs in stats.window_runs.items())),
    ),
)
