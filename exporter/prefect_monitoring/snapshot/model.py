"""The snapshot that one poll leaves behind: immutable, and all that the metrics are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from prefect_monitoring.counting.storms import Failure
from prefect_monitoring.model.actions import Acting, Action
from prefect_monitoring.model.changes import LastValue, Schedule, SeriesKey
from prefect_monitoring.model.heartbeats import SilentRun
from prefect_monitoring.model.inventory import Inventory
from prefect_monitoring.model.records import Deployment, Pipeline
from prefect_monitoring.model.run_quantiles import RunQuantiles
from prefect_monitoring.model.run_stats import RunStats
from prefect_monitoring.model.series import Bounds, Series
from prefect_monitoring.model.sink_status import SinkStatus
from prefect_monitoring.model.source_status import FileStatus, ReconciliationReport, SourceStatus
from prefect_monitoring.policy.resolve import Policy

ShownSeries = Mapping[str, Mapping[SeriesKey, Series]]


@dataclass(frozen=True, slots=True)
class ActiveRuns:
    """Runs neither over nor merely scheduled: counts by (pipeline, work pool, state), since when by (pipeline, state).

    `late_by_queue`: how many are late, by (work pool, work queue); `slots_by_queue`: how many take a slot. `orphans`:
    subflow runs whose parent run is over. Of running runs that send heartbeats: `heartbeats` are the oldest of their
    last ones, `unresponsive` how many missed theirs, and `silent` which ones; None where that is not known.
    """

    counts: Mapping[tuple[Pipeline, str, str], int]
    oldest: Mapping[tuple[Pipeline, str], float]
    late_by_queue: Mapping[tuple[str, str], int] = field(default_factory=dict)
    orphans: Mapping[Pipeline, int] = field(default_factory=dict)
    heartbeats: Mapping[Pipeline, float] = field(default_factory=dict)
    unresponsive: Mapping[Pipeline, int] = field(default_factory=dict)
    silent: tuple[SilentRun, ...] | None = None
    slots_by_queue: Mapping[tuple[str, str], int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Health:
    """What `/-/ready` tells: everything that is not yet as it should be, in words.

    Before `baseline_complete`, the past is not known: that a pipeline has no run statistics says nothing.
    """

    not_ready: tuple[str, ...]
    baseline_complete: bool = True


@dataclass(frozen=True, slots=True)
class Links:
    """Where people open Prefect, Grafana and the runbooks, without a slash at the end; "" where that is not known.

    `api_url` is the API that is watched, without credentials.
    """

    prefect_url: str = ""
    grafana_url: str = ""
    runbook_url: str = ""
    api_url: str = ""


@dataclass(frozen=True, slots=True)
class ActionsReport:
    """What the exporter does to Prefect. `recent`: the newest actions, newest first; `holds`: what is in force now.

    `acting` is None in a dry run.
    """

    acting: Acting | None
    recent: tuple[Action, ...] = ()
    holds: tuple[Action, ...] = ()


@dataclass(frozen=True, slots=True)
class SelfReport:
    """The exporter about itself: the ledger, the sources, the traffic. `api_up` is None before the first poll.

    `pipelines_file` is None when there is none. `sinks` are those that are switched on.
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
    reconciliations: Mapping[str, ReconciliationReport] = field(default_factory=dict)
    links: Links = field(default_factory=Links)
    pipelines_file: FileStatus | None = None
    sinks: tuple[SinkStatus, ...] = ()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Instants in epoch seconds.

    `series` (by metric), `values`, `run_stats` and `quantiles` are empty before the baseline of their source is
    complete; what describes the present is None when what was last read is too old to pass for it. `actions` is None
    while the exporter only watches. `assets`: how old the last materialization of each declared asset may be, in
    seconds.
    `storms`: the failures that are part of a storm.
    """

    taken_at: float
    bounds: Bounds
    series: ShownSeries
    values: Mapping[SeriesKey, LastValue]
    run_stats: Mapping[Pipeline, RunStats]
    active: ActiveRuns | None
    active_tasks: Mapping[tuple[Pipeline, str, str], int] | None
    deployments: tuple[tuple[Pipeline, Deployment], ...] | None
    schedules: Mapping[Pipeline, Schedule]
    policies: Mapping[Pipeline, Policy]
    inventory: Inventory
    about: SelfReport
    health: Health
    actions: ActionsReport | None = None
    assets: Mapping[str, float | None] = field(default_factory=dict)
    quantiles: Mapping[Pipeline, RunQuantiles] = field(default_factory=dict)
    storms: tuple[Failure, ...] = ()
