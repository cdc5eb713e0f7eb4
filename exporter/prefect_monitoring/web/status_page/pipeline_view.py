"""All that a snapshot says of one pair, put together; and as of when it says so."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from prefect_monitoring.model.changes import Due
from prefect_monitoring.model.records import NO_FLOW, OVERFLOW, Deployment, Pair
from prefect_monitoring.model.run_stats import Standing
from prefect_monitoring.policy.resolve import Policy
from prefect_monitoring.snapshot.model import Snapshot


@dataclass(frozen=True, slots=True)
class Case:
    """`active`: how many runs are in each state, and `oldest`: since when; both empty where that is not known.

    `read_at`: every run that ended until then is known; what was due later cannot be judged.
    """

    pair: Pair
    now: float
    read_at: float
    standing: Standing = field(default_factory=Standing)
    is_loaded: bool = True
    policy: Policy | None = None
    deployment: Deployment | None = None
    due: Due = field(default_factory=Due)
    active: Mapping[str, int] = field(default_factory=dict)
    oldest: Mapping[str, float] = field(default_factory=dict)
    is_active_known: bool = True
    orphans: int = 0

    @property
    def newest_outcome(self) -> tuple[str, float] | None:
        return max(self.standing.last_outcomes.items(), key=lambda one: one[1], default=None)

    @property
    def is_paused(self) -> bool:
        known = self.deployment.paused if self.deployment is not None else None
        return known if known is not None else self.due.paused_at is not None


def read_at(snapshot: Snapshot) -> float | None:
    """Until when finished runs are read; None when nothing was ever read.

    A process that has not read yet has what the one before it left: its newest end is all that is certain.
    """
    finished = next((one for one in snapshot.about.sources if one.name == "finished_flow_runs"), None)
    if finished is not None and finished.complete_to is not None:
        return finished.complete_to
    return max((at for one in snapshot.standings.values() for at in one.last_outcomes.values()), default=None)


def cases(snapshot: Snapshot) -> Iterator[Case]:
    """One for each pair that has runs, a deployment, or something under way."""
    counts: defaultdict[Pair, defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))
    oldest: defaultdict[Pair, dict[str, float]] = defaultdict(dict)
    active = snapshot.active
    if active is not None:
        for (pair, _, state), count in active.counts.items():
            counts[pair][state] += count
        for (pair, state), since in active.oldest.items():
            oldest[pair][state] = since
    deployments = dict(snapshot.deployments or ())
    # What is due is of the ledger: with it, a deployment is there also while they cannot be listed.
    pairs = {*snapshot.standings, *deployments, *snapshot.dues, *counts} - {OVERFLOW, NO_FLOW}
    known_until = read_at(snapshot) or 0.0
    for pair in pairs:
        yield Case(
            pair,
            snapshot.taken_at,
            known_until,
            standing=snapshot.standings.get(pair, Standing()),
            is_loaded=snapshot.health.level_complete,
            policy=snapshot.policies.get(pair),
            deployment=deployments.get(pair),
            due=snapshot.dues.get(pair, Due()),
            active=counts.get(pair, {}),
            oldest=oldest.get(pair, {}),
            is_active_known=active is not None,
            orphans=active.orphans.get(pair, 0) if active is not None else 0,
        )
