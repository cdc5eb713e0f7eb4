"""Everything a snapshot knows about one pipeline, in one value."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from prefect_monitoring.model.changes import Schedule
from prefect_monitoring.model.records import NO_FLOW, OVERFLOW, Deployment, Pipeline, labels_of
from prefect_monitoring.model.run_stats import SLO_WINDOW, RunStats
from prefect_monitoring.policy.resolve import Policy
from prefect_monitoring.snapshot.model import Snapshot
from prefect_monitoring.web.status_page.thresholds import BASELINE_WINDOW


@dataclass(frozen=True, slots=True)
class PipelineView:
    """Instants in epoch seconds, durations in seconds.

    `complete_to`: every run that ended until then is known; what was due later cannot be judged.
    `active`: how many runs are in each state, `oldest`: since when; both are empty if that is unknown.
    `pools_without_workers`: the pools among them in which late runs wait.
    """

    pipeline: Pipeline
    now: float
    complete_to: float
    stats: RunStats = field(default_factory=RunStats)
    is_loaded: bool = True
    policy: Policy | None = None
    deployment: Deployment | None = None
    due: Schedule = field(default_factory=Schedule)
    active: Mapping[str, int] = field(default_factory=dict)
    oldest: Mapping[str, float] = field(default_factory=dict)
    is_active_known: bool = True
    orphans: int = 0
    pools_without_workers: tuple[str, ...] = ()

    @property
    def newest_outcome(self) -> tuple[str, float] | None:
        """The last terminal state and when the run entered it."""
        return max(self.stats.last_outcomes.items(), key=lambda outcome: outcome[1], default=None)

    @property
    def is_paused(self) -> bool:
        listed = self.deployment.paused if self.deployment is not None else None
        return listed if listed is not None else self.due.paused_at is not None

    @property
    def is_waiting_for_approval(self) -> bool:
        """Whether a run waits for somebody to resume it."""
        return any(state in self.active for state in labels_of("PAUSED"))

    @property
    def usual_duration(self) -> float:
        """Seconds: the baseline, or the last run's duration if runs are too rare for one; 0 if none has completed."""
        return self.stats.baselines.get(BASELINE_WINDOW) or self.stats.last_duration or 0.0

    @property
    def slo_runs(self) -> tuple[int, int] | None:
        """Good and bad runs of the SLO's window; None without a policy, and until they have been counted."""
        bad = self.stats.window_runs.get((SLO_WINDOW, "bad"))
        if self.policy is None or self.policy.window <= 0 or bad is None:
            return None
        return self.stats.window_runs.get((SLO_WINDOW, "good"), 0), bad


def complete_to(snapshot: Snapshot) -> float | None:
    """The instant up to which finished runs have been read; None when nothing has ever been read.

    After a restart and before the first reading, that is the newest end in the ledger.
    """
    finished = next((source for source in snapshot.about.sources if source.name == "finished_flow_runs"), None)
    if finished is not None and finished.complete_to is not None:
        return finished.complete_to
    return max((at for stats in snapshot.run_stats.values() for at in stats.last_outcomes.values()), default=None)


def pipeline_views(snapshot: Snapshot) -> Iterator[PipelineView]:
    """A view of each pipeline that has runs, a deployment, or something active."""
    counts: defaultdict[Pipeline, defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))
    oldest: defaultdict[Pipeline, dict[str, float]] = defaultdict(dict)
    active = snapshot.active
    if active is not None:
        for (pipeline, _, state), count in active.counts.items():
            counts[pipeline][state] += count
        for (pipeline, state), since in active.oldest.items():
            oldest[pipeline][state] = since
    without_workers = _without_workers(snapshot)
    deployments = dict(snapshot.deployments or ())
    # Due starts come from the ledger: they keep a deployment on the page while deployments cannot be listed.
    pipelines = {*snapshot.run_stats, *deployments, *snapshot.schedules, *counts} - {OVERFLOW, NO_FLOW}
    known_until = complete_to(snapshot) or 0.0
    for pipeline in pipelines:
        yield PipelineView(
            pipeline,
            snapshot.taken_at,
            known_until,
            stats=snapshot.run_stats.get(pipeline, RunStats()),
            is_loaded=snapshot.health.baseline_complete,
            policy=snapshot.policies.get(pipeline),
            deployment=deployments.get(pipeline),
            due=snapshot.schedules.get(pipeline, Schedule()),
            active=counts.get(pipeline, {}),
            oldest=oldest.get(pipeline, {}),
            is_active_known=active is not None,
            orphans=active.orphans.get(pipeline, 0) if active is not None else 0,
            pools_without_workers=tuple(sorted(without_workers.get(pipeline, ()))),
        )


def _without_workers(snapshot: Snapshot) -> Mapping[Pipeline, set[str]]:
    """The pools without a worker online in which runs of each pipeline are late."""
    empty = {pool for pool, workers in snapshot.inventory.workers.items() if not workers.online}
    pools: defaultdict[Pipeline, set[str]] = defaultdict(set)
    for pipeline, pool, state in snapshot.active.counts if snapshot.active is not None else ():
        if state == "late" and pool in empty:
            pools[pipeline].add(pool)
    return pools
