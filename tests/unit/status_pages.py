"""Snapshots for the status page: a healthy exporter with pipelines in chosen states, and a large team."""

from __future__ import annotations

from dataclasses import replace

from prefect_monitoring.model.changes import KnownRun, Schedule
from prefect_monitoring.model.records import Deployment, Pipeline
from prefect_monitoring.model.run_stats import RECENT_DURATIONS, RunStats
from prefect_monitoring.model.source_status import SourceStatus
from prefect_monitoring.policy.resolve import Policy
from prefect_monitoring.snapshot.model import ActiveRuns, Links, Snapshot
from unit.snapshots import NOW, make_snapshot

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
GOOD = RunStats(
    last_outcomes={"completed": NOW - HOUR, "failed": NOW - 3 * DAY},
    recent_durations=(95.0, 90.0, 130.0, 60.0),
    window_runs={("30d", "good"): 99, ("30d", "bad"): 1, ("slo", "good"): 199, ("slo", "bad"): 1},
    baselines={"30d": 90.0},
    time_shares={"extract": 0.2, "load": 0.71},
)
BAD_RUN = "11111111-2222-3333-4444-555555555555"


def failing(pipeline: Pipeline, runs: int = 3, kind: str = "FAILED", *, since: float = NOW - 2 * HOUR) -> RunStats:
    last = KnownRun(
        BAD_RUN,
        pipeline,
        "5",
        kind,
        NOW - HOUR / 2,
        1,
        start_counted=True,
        ended_at=NOW - HOUR / 2,
        duration=12.0,
        name="able-lynx",
        cause="rate_limit",
    )
    return replace(
        GOOD,
        last_outcomes={"completed": NOW - DAY, kind.lower(): NOW - HOUR / 2},
        consecutive_failures=runs,
        failing_since=since,
        last_failure=last,
    )


def deployment_of(pipeline: Pipeline, *, paused: bool = False) -> tuple[Pipeline, Deployment]:
    return pipeline, Deployment(
        f"id of {pipeline.deployment}", pipeline.deployment, "f", "k8s", "default", (), paused=paused
    )


def snapshot_of(
    run_stats: dict[Pipeline, RunStats],
    *,
    paused: tuple[Pipeline, ...] = (),
    without_runs: tuple[Pipeline, ...] = (),
    policies: dict[Pipeline, Policy] | None = None,
    active: dict[tuple[Pipeline, str], float] | None = None,
    orphans: dict[Pipeline, int] | None = None,
    schedules: dict[Pipeline, Schedule] | None = None,
    links: Links | None = None,
) -> Snapshot:
    """A healthy exporter that has read everything until now.

    `active`: since when a run of the pipeline has been in a state.
    Every pipeline with a deployment has the default policy, unless `policies` are given.
    """
    pipelines = {*run_stats, *paused, *without_runs, *(pipeline for pipeline, _ in active or {}), *(schedules or {})}
    deployed = sorted(pipeline for pipeline in pipelines if pipeline.deployment)
    base = make_snapshot()
    nothing = base.about.sources[1].readings
    finished = SourceStatus("finished_flow_runs", True, NOW - 1, NOW - 2, nothing, 40, "")
    about = replace(base.about, sources=(finished,), reconciliations={}, folded={}, links=links or Links())
    counts = dict.fromkeys(((pipeline, "k8s", state) for pipeline, state in active or {}), 1)
    return replace(
        base,
        run_stats=run_stats,
        active=ActiveRuns(counts, dict(active or {}), {}, orphans or {}),
        deployments=tuple(deployment_of(pipeline, paused=pipeline in paused) for pipeline in deployed),
        schedules={pipeline: (schedules or {}).get(pipeline, Schedule()) for pipeline in deployed},
        policies={pipeline: Policy() for pipeline in deployed} | (policies or {}),
        about=about,
        actions=None,
    )


def big_snapshot(pipelines: int) -> Snapshot:
    """A large team with long histories and all links; every twentieth pipeline is failing."""
    run_stats = {}
    for number in range(pipelines):
        pipeline = Pipeline(f"warehouse-pipeline-{number // 2:04}", f"production-{number % 2}")
        usual = 60.0 + number
        durations = tuple(usual * (1 + (place * number) % 7 / 10) for place in range(RECENT_DURATIONS))
        stats = failing(pipeline) if number % 20 == 0 else GOOD
        run_stats[pipeline] = replace(stats, recent_durations=durations)
    links = Links("https://prefect.example.com", "https://grafana.example.com", "https://example.com/runbooks")
    return snapshot_of(run_stats, links=links)
