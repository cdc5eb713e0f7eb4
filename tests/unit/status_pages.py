"""Snapshots for the status page: one pair in each state, and as many pairs as a large team has."""

from __future__ import annotations

from dataclasses import replace

from prefect_monitoring.model.changes import Due, KnownRun
from prefect_monitoring.model.records import Deployment, Pair
from prefect_monitoring.model.run_stats import RECENT_DURATIONS, Standing
from prefect_monitoring.model.source_status import SourceStatus
from prefect_monitoring.policy.resolve import Policy
from prefect_monitoring.snapshot.model import ActiveRuns, Links, Snapshot
from unit.snapshots import NOW, make_snapshot

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
GOOD = Standing(
    last_outcomes={"completed": NOW - HOUR, "failed": NOW - 3 * DAY},
    recent_durations=(95.0, 90.0, 130.0, 60.0),
    window_runs={("30d", "good"): 99, ("30d", "bad"): 1, ("slo", "good"): 199, ("slo", "bad"): 1},
    baselines={"30d": 90.0},
    time_shares={"extract": 0.2, "load": 0.71},
)
BAD_RUN = "11111111-2222-3333-4444-555555555555"


def failing(pair: Pair, runs: int = 3, kind: str = "FAILED", *, since: float = NOW - 2 * HOUR) -> Standing:
    last = KnownRun(
        *(BAD_RUN, pair, "5", kind, NOW - HOUR / 2, 1),
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


def deployment_of(pair: Pair, *, paused: bool = False) -> tuple[Pair, Deployment]:
    return pair, Deployment(f"id of {pair.deployment}", pair.deployment, "f", "k8s", "default", (), paused=paused)


def snapshot_of(
    standings: dict[Pair, Standing],
    *,
    paused: tuple[Pair, ...] = (),
    without_runs: tuple[Pair, ...] = (),
    policies: dict[Pair, Policy] | None = None,
    active: dict[tuple[Pair, str], float] | None = None,
    orphans: dict[Pair, int] | None = None,
    dues: dict[Pair, Due] | None = None,
    links: Links | None = None,
) -> Snapshot:
    """A healthy exporter that has read everything until now. `active`: since when one run of the pair is in a state.

    Every pair of a deployment has one, and the default policy unless `policies` say otherwise.
    """
    pairs = {*standings, *paused, *without_runs, *(pair for pair, _ in active or {}), *(dues or {})}
    deployed = sorted(pair for pair in pairs if pair.deployment)
    base = make_snapshot()
    nothing = base.about.sources[1].readings
    finished = SourceStatus("finished_flow_runs", True, NOW - 1, NOW - 2, nothing, 40, "")
    about = replace(base.about, sources=(finished,), audits={}, folded={}, links=links or Links())
    counts = dict.fromkeys(((pair, "k8s", state) for pair, state in active or {}), 1)
    return replace(
        base,
        standings=standings,
        active=ActiveRuns(counts, dict(active or {}), {}, orphans or {}),
        deployments=tuple(deployment_of(pair, paused=pair in paused) for pair in deployed),
        dues={pair: (dues or {}).get(pair, Due()) for pair in deployed},
        policies={pair: Policy() for pair in deployed} | (policies or {}),
        about=about,
    )


def big_snapshot(pairs: int) -> Snapshot:
    """A large team with long histories and all links; every twentieth pair is failing."""
    standings = {}
    for number in range(pairs):
        pair = Pair(f"warehouse-pipeline-{number // 2:04}", f"production-{number % 2}")
        usual = 60.0 + number
        durations = tuple(usual * (1 + (place * number) % 7 / 10) for place in range(RECENT_DURATIONS))
        one = failing(pair) if number % 20 == 0 else GOOD
        standings[pair] = replace(one, recent_durations=durations)
    links = Links("https://prefect.example.com", "https://grafana.example.com", "https://example.com/runbooks")
    return snapshot_of(standings, links=links)
