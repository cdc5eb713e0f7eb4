"""The picture that one poll leaves behind: immutable, and all that the metrics are made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from prefect_monitoring.fold import SeriesKey
from prefect_monitoring.memory import Standing
from prefect_monitoring.records import OVERFLOW, Deployment, FlowRun, Pair
from prefect_monitoring.series import Bounds, Series
from prefect_monitoring.sources import SourceStatus


@dataclass(frozen=True, slots=True)
class ActiveRuns:
    """Runs neither over nor merely scheduled: counts by (pair, work pool, state), since when by (pair, state)."""

    counts: Mapping[tuple[Pair, str, str], int]
    oldest: Mapping[tuple[Pair, str], float]


@dataclass(frozen=True, slots=True)
class Health:
    """What `/-/ready` tells: everything that is not yet as it should be, in words."""

    not_ready: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SelfReport:
    """The exporter about itself: the ledger, the sources, the traffic. `api_up` is None before the first poll."""

    version: str
    prefect_version: str
    api_up: bool | None
    ledger_created_at: float
    ledger_bytes: int
    sources: tuple[SourceStatus, ...]
    requests: Mapping[tuple[str, str], int]
    throttled: int
    folded: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Instants in epoch seconds.

    `series` and `standings` are empty before the starting level is complete; `active` and `deployments` are None when
    what was last read is too old to pass for the present.
    """

    taken_at: float
    bounds: Bounds
    series: Mapping[SeriesKey, Series]
    standings: Mapping[Pair, Standing]
    active: ActiveRuns | None
    deployments: tuple[tuple[Pair, Deployment], ...] | None
    about: SelfReport
    health: Health


def shown(series: Mapping[SeriesKey, Series], *, level_complete: bool) -> dict[SeriesKey, Series]:
    """What may be seen of the ledger's series: nothing of an incomplete level, zero during the birth hold."""
    if not level_complete:
        return {}
    return {key: one if one.released else one.zero for key, one in series.items()}


def summarise_active(runs: Iterable[tuple[Pair, FlowRun]]) -> ActiveRuns:
    counts: Counter[tuple[Pair, str, str]] = Counter()
    oldest: dict[tuple[Pair, str], float] = {}
    for pair, run in runs:
        label = run.state.label
        counts[pair, run.work_pool, label] += 1
        # A late run has been due since its expected start; the server notices only some time later.
        since = run.expected_at if label == "late" and run.expected_at is not None else run.state.at
        if pair != OVERFLOW:
            oldest[pair, label] = min(since, oldest.get((pair, label), since))
    return ActiveRuns(counts, oldest)
