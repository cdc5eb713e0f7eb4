"""Builds the snapshot: the present knowledge of the ledger and the readers, as one immutable value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Final

from prefect_monitoring import __version__
from prefect_monitoring.analysis.message_patterns import exception_type
from prefect_monitoring.config.settings import AlertSettings, LinkSettings, PollSettings
from prefect_monitoring.counting import schedules
from prefect_monitoring.counting.cardinality import Catalog
from prefect_monitoring.counting.late_runs import LATE, LateKey, LateRuns
from prefect_monitoring.counting.storms import storms
from prefect_monitoring.ingest.heartbeats import HeartbeatReader
from prefect_monitoring.ingest.source import Source, Turn
from prefect_monitoring.ingest.sources import (
    ACTIVE_FLOW_RUNS,
    ACTIVE_TASK_RUNS,
    COUNTED_SOURCES,
    DEPLOYMENTS,
    HEARTBEATS,
    SOURCES,
    Readers,
    SourceEntry,
    cursor_of,
)
from prefect_monitoring.ledger.ledger import Ledger
from prefect_monitoring.model.changes import SeriesKey
from prefect_monitoring.model.counted_metrics import COUNTED_METRICS, CountedMetric
from prefect_monitoring.model.cursor import FLOW_RUNS
from prefect_monitoring.model.heartbeats import SilentRun
from prefect_monitoring.model.records import NO_FLOW, OVERFLOW, FlowRun, Pipeline, TaskRun
from prefect_monitoring.model.run_stats import RunStats
from prefect_monitoring.model.series import Series
from prefect_monitoring.model.sink_status import SinkStatus
from prefect_monitoring.model.source_status import SourceStatus
from prefect_monitoring.policy.reloader import PolicyReloader
from prefect_monitoring.prefect_api.address import ui_address, watched_address
from prefect_monitoring.prefect_api.client import Traffic
from prefect_monitoring.snapshot.freshness import current_limit, listing_limit
from prefect_monitoring.snapshot.live_runs import LiveRunStats
from prefect_monitoring.snapshot.model import (
    ActionsReport,
    ActiveRuns,
    Health,
    Links,
    SelfReport,
    ShownSeries,
    Snapshot,
)


@dataclass(frozen=True, slots=True)
class SnapshotBuilder:
    """Everything that a snapshot is built from; `sources` are those of the table, by name.

    `sinks` gives the status of each sink that is switched on.
    """

    readers: Readers
    settings: PollSettings
    traffic: Traffic
    sources: Mapping[str, Source]
    run_stats: LiveRunStats
    policies: PolicyReloader
    links: Links
    alerts: AlertSettings
    sinks: Callable[[], tuple[SinkStatus, ...]] = tuple
    failure_message: str = "line"

    def take(self, now: float, actions: ActionsReport | None = None) -> tuple[Snapshot, set[SeriesKey]]:
        """The snapshot, and which of its series are at zero because of their birth hold."""
        ledger, catalog = self.readers.flow_runs.ledger, self.readers.flow_runs.catalog
        pipelines, deployments = catalog.live_pipelines(ledger.names), catalog.live_deployments(ledger.names)
        complete = {source for source, cursor in ledger.cursors.items() if cursor.baseline_complete}
        metrics = shown_metrics(complete, ledger.metrics)
        series = shown(ledger.series, complete, ledger.metrics)
        run_stats = self.run_stats.now if FLOW_RUNS in complete else {}
        quantiles = self.run_stats.quantiles if FLOW_RUNS in complete else {}
        completed = {pipeline: at for pipeline, one in run_stats.items() if (at := one.last_success) is not None}
        limit = current_limit(self.settings)
        read_lately = _is_fresh(self.sources[DEPLOYMENTS], now, listing_limit(self.settings))
        snapshot = Snapshot(
            taken_at=now,
            bounds=ledger.bounds,
            series=series,
            values={
                key: one
                for key, one in ledger.values.items()
                if key.metric in metrics and (key.pipeline in pipelines or key.pipeline == NO_FLOW)
            },
            run_stats={
                pipeline: with_message(one, self.failure_message)
                for pipeline, one in run_stats.items()
                if pipeline in pipelines
            },
            quantiles={pipeline: one for pipeline, one in quantiles.items() if pipeline in pipelines},
            active=self._active(now, limit) if _is_fresh(self.sources[ACTIVE_FLOW_RUNS], now, limit) else None,
            active_tasks=self._active_tasks() if _is_fresh(self.sources[ACTIVE_TASK_RUNS], now, limit) else None,
            deployments=tuple(deployments.items()) if read_lately else None,
            schedules=schedules.settled_all(
                ledger.schedules, deployments, now, completed if FLOW_RUNS in complete else None
            ),
            policies=self.policies.current,
            inventory=self.readers.inventory.current(deployments, now, listing_limit(self.settings)),
            about=self._self_report(ledger),
            health=Health(tuple(self._not_ready(ledger)), baseline_complete=not any(self._loading(ledger))),
            actions=actions,
            assets=self.readers.assets.declared(),
            storms=tuple(
                storms(
                    {pipeline: run_stats[pipeline] for pipeline in self.policies.current if pipeline in run_stats},
                    pipelines=self.alerts.storm_pipelines,
                    window=self.alerts.storm_window,
                )
            ),
        )
        return snapshot, {key for key in ledger.in_birth_hold if key in series.get(key.metric, ())}

    def _active(self, now: float, limit: float) -> ActiveRuns | None:
        under_way = self.readers.flow_runs.under_way
        if under_way is None:
            return None
        active = with_late(summarise_active(under_way.runs.values(), under_way.orphans), under_way.late)
        active = replace(active, slots_by_queue=under_way.slots_used)
        if not _is_fresh(self.sources[HEARTBEATS], now, limit):
            return active
        return with_heartbeats(active, under_way.runs.values(), self.readers.heartbeats)

    def _active_tasks(self) -> Mapping[tuple[Pipeline, str, str], int] | None:
        under_way = self.readers.task_runs.under_way
        return None if under_way is None else summarise_tasks(under_way, self.readers.flow_runs.catalog)

    def _not_ready(self, ledger: Ledger) -> Iterator[str]:
        for source in self._loading(ledger):
            yield f"the baseline is being loaded ({source.records} runs so far)"
        for source in self._gates():
            if source.last_success is None:
                yield f"no poll has been completed yet ({source.error or 'under way'})"
        if ledger.fault:
            yield ledger.fault

    def _gates(self) -> Iterator[Source]:
        return (self.sources[entry.name] for entry in SOURCES if entry.gates_ready)

    def _loading(self, ledger: Ledger) -> Iterator[Source]:
        """The sources that gate readiness and whose baseline is not complete."""
        for cursor, entry in COUNTED_SOURCES.items():
            if entry.gates_ready and not ledger.cursors[cursor].baseline_complete:
                yield self.sources[entry.name]

    def _status(self, entry: SourceEntry) -> SourceStatus:
        # Records that a comparison cannot read are shown with the source that it compares.
        since = () if entry.compares else self.readers.flow_runs.aside.since(entry.name, cursor_of(entry))
        return replace(self.sources[entry.name].status(), unreadable=tuple(since))

    def _self_report(self, ledger: Ledger) -> SelfReport:
        return SelfReport(
            version=__version__,
            prefect_version=self.readers.flow_runs.server_version,
            api_up=_any_answered(self.sources[entry.name] for entry in SOURCES if _is_always_asked(entry)),
            ledger_created_at=ledger.created_at,
            ledger_bytes=ledger.bytes_used(),
            sources=tuple(self._status(entry) for entry in SOURCES if entry.is_wanted(self.readers.metrics)),
            requests=dict(self.traffic.requests),
            throttled=self.traffic.throttled,
            folded=dict(ledger.folded),
            reconciliations={one.source: one.report for one in self.readers.reconciliations if one.report is not None},
            links=self.links,
            pipelines_file=self.policies.status,
            sinks=self.sinks(),
        )


def with_message(stats: RunStats, wanted: str) -> RunStats:
    """`stats` with only as much of the last failure's message as the option `failure_message` allows."""
    if wanted == "line" or stats.last_failure is None:
        return stats
    message = exception_type(stats.last_failure.message) if wanted == "type" else ""
    return replace(stats, last_failure=replace(stats.last_failure, message=message))


def summarise_tasks(runs: Iterable[tuple[Pipeline, TaskRun]], catalog: Catalog) -> dict[tuple[Pipeline, str, str], int]:
    """Task runs under way, by (pipeline, task, state)."""
    return Counter((pipeline, catalog.task_of(pipeline, run.task), run.state.label) for pipeline, run in runs)


def _is_fresh(source: Source, now: float, limit: float) -> bool:
    return source.last_success is not None and now - source.last_success <= limit


def _is_always_asked(entry: SourceEntry) -> bool:
    """Whether it is read at each poll, independent of other sources."""
    return entry.turn is Turn.POLL and not entry.after


def _any_answered(sources: Iterable[Source]) -> bool | None:
    asked = [source.answered for source in sources if source.answered is not None]
    return any(asked) if asked else None


# When a waiting run was due, by state. The server marks a run late only after some time; a run that waits for a slot
# gets a new state with each try; a retry may be delayed by hours, and is lost if it still waits after that.
_DUE_AT: Final[Mapping[str, Callable[[FlowRun], float | None]]] = {
    "late": attrgetter("due_at"),
    "awaiting_concurrency_slot": attrgetter("expected_at"),
    "awaiting_retry": attrgetter("scheduled_at"),
}


def shown_metrics(complete: Collection[str], kept: Mapping[str, CountedMetric] = COUNTED_METRICS) -> set[str]:
    """The `kept` metrics whose sources all have a `complete` baseline."""
    return {name for name, row in kept.items() if set(row.sources) <= set(complete)}


def shown(
    series: Mapping[SeriesKey, Series],
    complete: Collection[str],
    kept: Mapping[str, CountedMetric] = COUNTED_METRICS,
) -> ShownSeries:
    """The ledger's series by metric, without metrics whose baseline is not `complete`; zero during the birth hold."""
    metrics = shown_metrics(complete, kept)
    by_metric: dict[str, dict[SeriesKey, Series]] = {}
    for key, one in series.items():
        if key.metric in metrics:
            by_metric.setdefault(key.metric, {})[key] = one if one.released else one.zero
    return by_metric


def summarise_active(runs: Iterable[tuple[Pipeline, FlowRun]], orphans: Collection[str] = ()) -> ActiveRuns:
    """Counts and oldest states of active runs; `orphans`: the ids of runs whose parent run is over."""
    counts: Counter[tuple[Pipeline, str, str]] = Counter()
    late: Counter[tuple[str, str]] = Counter()
    oldest: dict[tuple[Pipeline, str], float] = {}
    orphaned: Counter[Pipeline] = Counter()
    for pipeline, run in runs:
        label = run.state.label
        counts[pipeline, run.work_pool, label] += 1
        late[run.work_pool, run.work_queue] += label == LATE
        orphaned[pipeline] += run.id in orphans
        since = _since(run)
        if pipeline != OVERFLOW:
            oldest[pipeline, label] = min(since, oldest.get((pipeline, label), since))
    return ActiveRuns(counts, oldest, late, +orphaned)


def with_late(active: ActiveRuns, late: Mapping[LateKey, LateRuns]) -> ActiveRuns:
    """`active` with the late runs that are counted rather than listed."""
    counts, by_queue, oldest = Counter(active.counts), Counter(active.late_by_queue), dict(active.oldest)
    for (pipeline, pool, queue), (number, due_at) in late.items():
        counts[pipeline, pool, LATE] += number
        by_queue[pool, queue] += number
        if pipeline != OVERFLOW:
            oldest[pipeline, LATE] = min(due_at, oldest.get((pipeline, LATE), due_at))
    return replace(active, counts=counts, late_by_queue=by_queue, oldest=oldest) if late else active


def with_heartbeats(
    active: ActiveRuns, runs: Iterable[tuple[Pipeline, FlowRun]], reader: HeartbeatReader
) -> ActiveRuns:
    """`active` with the heartbeats of those of `runs` that are Running and send any."""
    last: dict[Pipeline, float] = {}
    unresponsive: Counter[Pipeline] = Counter()
    silent: list[SilentRun] = []
    pulses = reader.pulses or {}
    for pipeline, run in runs:
        pulse = pulses.get(run.id)
        if pulse is not None and run.state.type == "RUNNING":
            last[pipeline] = min(pulse.beats.last, last.get(pipeline, pulse.beats.last))
            is_unresponsive = pulse.is_unresponsive(reader.default_interval)
            unresponsive[pipeline] += is_unresponsive
            if is_unresponsive:
                silent.append(SilentRun(pipeline, run, pulse.silent))
    return replace(active, heartbeats=last, unresponsive=dict(unresponsive), silent=tuple(silent))


def _since(run: FlowRun) -> float:
    """Since when the run has been in its state, or should have left it; when a retry is due, even in the future.

    The age of a Running run includes its earlier attempts, because limits apply to all attempts together.
    """
    due_at = _DUE_AT.get(run.state.label)
    due = due_at(run) if due_at else None
    return due if due is not None else run.state.at - run.ran_before


def find_links(settings: LinkSettings) -> Links:
    """Prefect's address is that of the setting, else that of Prefect's own settings, without credentials."""
    prefect = settings.prefect_ui_url or ui_address()
    return Links(prefect, settings.grafana_url, settings.runbook_url, watched_address())
