"""The picture that one poll leaves behind: immutable, and all that the metrics are made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Final

from prefect_monitoring.model.changes import Due, LastValue, SeriesKey
from prefect_monitoring.model.counted_metrics import (
    CUSTOM_OBSERVED,
    REJECTED,
    TASK_DURATION,
    TASK_FAILURES,
    TASK_OUTCOMES,
    TASK_RETRIES,
    TASK_SECONDS,
)
from prefect_monitoring.model.cursor import FLOW_RUNS, LOG_LINES, TASK_RUNS
from prefect_monitoring.model.inventory import Inventory
from prefect_monitoring.model.records import OVERFLOW, Deployment, FlowRun, Pair
from prefect_monitoring.model.run_stats import Standing
from prefect_monitoring.model.series import Bounds, Series
from prefect_monitoring.model.source_status import FileStatus, SourceStatus
from prefect_monitoring.policy.resolve import Policy

ShownSeries = Mapping[str, Mapping[SeriesKey, Series]]

# What a metric is counted from, where it is not finished flow runs alone.
_SOURCES: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys((TASK_OUTCOMES, TASK_SECONDS, TASK_RETRIES, TASK_DURATION), (TASK_RUNS,)),
    TASK_FAILURES: (TASK_RUNS, LOG_LINES),
    **dict.fromkeys((CUSTOM_OBSERVED, REJECTED), (LOG_LINES,)),
}


# When a run that waits was due, by state. The server notices some time later that a run is late; one that waits for a
# slot gets a new state with each try; a retry may be delayed by hours, and is lost when it still waits after that.
_DUE_AT: Final[Mapping[str, Callable[[FlowRun], float | None]]] = {
    "late": attrgetter("expected_at"),
    "awaiting_concurrency_slot": attrgetter("expected_at"),
    "awaiting_retry": attrgetter("scheduled_at"),
}


@dataclass(frozen=True, slots=True)
class ActiveRuns:
    """Runs neither over nor merely scheduled: counts by (pair, work pool, state), since when by (pair, state).

    `late_by_queue`: how many are late, by (work pool, work queue). `orphans`: subflow runs whose parent run is over.
    """

    counts: Mapping[tuple[Pair, str, str], int]
    oldest: Mapping[tuple[Pair, str], float]
    late_by_queue: Mapping[tuple[str, str], int] = field(default_factory=dict)
    orphans: Mapping[Pair, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Health:
    """What `/-/ready` tells: everything that is not yet as it should be, in words.

    Before `level_complete`, the past is not known: that a pair has no standing says nothing.
    """

    not_ready: tuple[str, ...]
    level_complete: bool = True


@dataclass(frozen=True, slots=True)
class AuditReport:
    """The last audit of a kind of runs: how many the API has that the ledger could not count, and when it was."""

    missing: int
    done_at: float


@dataclass(frozen=True, slots=True)
class Links:
    """Where people open Prefect, Grafana and the runbooks, without a slash at the end; "" where that is not known."""

    prefect_url: str = ""
    grafana_url: str = ""
    runbook_url: str = ""


@dataclass(frozen=True, slots=True)
class SelfReport:
    """The exporter about itself: the ledger, the sources, the traffic. `api_up` is None before the first poll.

    `pipelines_file` is None when there is none.
    """

    version: str
    prefect_version: str
    api_up: bool | None
    ledger_created_at: float
    ledger_bytes: int
    sources: tuple[SourceStatus, ...]
    requests: Mapping[tuple[str, str], int]
    throttled: int
    folded: Mapping[str, float]
    audits: Mapping[str, AuditReport] = field(default_factory=dict)
    links: Links = field(default_factory=Links)
    pipelines_file: FileStatus | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Instants in epoch seconds.

    `series` (by metric), `values` and `standings` are empty before the starting level of their source is complete;
    what describes the present is None when what was last read is too old to pass for it.
    """

    taken_at: float
    bounds: Bounds
    series: ShownSeries
    values: Mapping[SeriesKey, LastValue]
    standings: Mapping[Pair, Standing]
    active: ActiveRuns | None
    active_tasks: Mapping[tuple[Pair, str, str], int] | None
    deployments: tuple[tuple[Pair, Deployment], ...] | None
    dues: Mapping[Pair, Due]
    policies: Mapping[Pair, Policy]
    inventory: Inventory
    about: SelfReport
    health: Health


def shown(series: Mapping[SeriesKey, Series], complete: Collection[str]) -> ShownSeries:
    """What may be seen of the ledger's series: none whose sources' level is not `complete`, zero in the birth hold."""
    found: dict[str, dict[SeriesKey, Series]] = {}
    for key, one in series.items():
        found.setdefault(key.metric, {})[key] = one if one.released else one.zero
    return {metric: rows for metric, rows in found.items() if set(_SOURCES.get(metric, (FLOW_RUNS,))) <= set(complete)}


def summarise_active(runs: Iterable[tuple[Pair, FlowRun]], orphans: Collection[str] = ()) -> ActiveRuns:
    """`orphans`: the ids of those whose parent run is over."""
    counts: Counter[tuple[Pair, str, str]] = Counter()
    late: Counter[tuple[str, str]] = Counter()
    oldest: dict[tuple[Pair, str], float] = {}
    left_over: Counter[Pair] = Counter()
    for pair, run in runs:
        label = run.state.label
        counts[pair, run.work_pool, label] += 1
        late[run.work_pool, run.work_queue] += label == "late"
        left_over[pair] += run.id in orphans
        since = _since(run)
        if pair != OVERFLOW:
            oldest[pair, label] = min(since, oldest.get((pair, label), since))
    return ActiveRuns(counts, oldest, late, +left_over)


def _since(run: FlowRun) -> float:
    """Since when the run is in its state, or should have left it; a retry that is not due yet, from then on.

    What is Running has its earlier attempts added to its age: the run may not take longer, in however many attempts.
    """
    due_at = _DUE_AT.get(run.state.label)
    due = due_at(run) if due_at else None
    return due if due is not None else run.state.at - run.ran_before
