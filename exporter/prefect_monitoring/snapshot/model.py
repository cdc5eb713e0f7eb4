"""The immutable snapshot that a poll produces, from which metrics, status page and sinks are made."""

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
    subflow runs whose parent run is over. For running runs that send heartbeats: `heartbeats` are their oldest last
    heartbeats, `unresponsive` how many runs missed theirs, and `silent` these runs; None where unknown.
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
    """What `/-/ready` reports: everything that is not ready yet, as text.

    Before `baseline_complete`, a pipeline without run statistics may still have past runs.
    """

    not_ready: tuple[str, ...]
    baseline_complete: bool = True


@dataclass(frozen=True, slots=True)
class Links:
    """Addresses of Prefect, Grafana and the runbooks, without a trailing slash; "" where unknown.

    `api_url` is the API that is watched, without credentials.
    """

    prefect_url: str = ""
    grafana_url: str = ""
    runbook_url: str = ""
    api_url: str = ""


@dataclass(frozen=True, slots=True)
class ActionsReport:
    """The exporter's actions in Prefect. `recent`: the newest actions, newest first; `holds`: those in force now.

    `acting` is None in a dry run.
    """

    acting: Acting | None
    recent: tuple[Action, ...] = ()
    holds: tuple[Action, ...] = ()


@dataclass(frozen=True, slots=True)
class SelfReport:
    """The exporter about itself: the ledger, the sources, the traffic. `api_up` is None before the first poll.

    `pipelines_file` is None without a pipelines file. `sinks` are those that are switched on.
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
    complete; parts about the present are None when the last reading is too old. `actions` is None while actions are
    switched off. `assets`: the maximum age of the last materialization of each declared asset, in seconds. `storms`:
    the failures that are part of a storm.
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
