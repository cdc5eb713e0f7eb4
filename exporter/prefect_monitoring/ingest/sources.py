"""The table of all sources, used by poller, ledger, snapshot, backfill and check."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final
from uuid import UUID

from prefect_monitoring.analysis.failure_causes import CausePattern, cause_of, compile_pattern
from prefect_monitoring.config.settings import HistorySettings, MetricSettings, Settings
from prefect_monitoring.counting.cardinality import Catalog
from prefect_monitoring.counting.custom_metrics import declarations_of
from prefect_monitoring.ingest.assets import AssetReader
from prefect_monitoring.ingest.failed_actions import FailedActionReader
from prefect_monitoring.ingest.flow_runs import Reader
from prefect_monitoring.ingest.heartbeats import HeartbeatReader
from prefect_monitoring.ingest.inventory import InventoryReader
from prefect_monitoring.ingest.log_lines import LogReader
from prefect_monitoring.ingest.reconcile import Reconciliation
from prefect_monitoring.ingest.source import Lookback, Reading, Scope, Turn
from prefect_monitoring.ingest.task_runs import TaskReader
from prefect_monitoring.ingest.trend_stores import TrendStoreReader
from prefect_monitoring.ledger.ledger import Ledger
from prefect_monitoring.model.counted_metrics import COUNTED_METRICS, FAILED_ACTIONS
from prefect_monitoring.model.cursor import ASSET_EVENTS, AUTOMATION_EVENTS, FLOW_RUNS, LOG_LINES, TASK_RUNS
from prefect_monitoring.model.records import ROLLED_BACK, TERMINAL_TYPES
from prefect_monitoring.prefect_api.client import PrefectHttp
from prefect_monitoring.prefect_api.events import EventsApi
from prefect_monitoring.prefect_api.flow_runs import PrefectApi
from prefect_monitoring.prefect_api.inventory import InventoryApi
from prefect_monitoring.prefect_api.logs import LogApi
from prefect_monitoring.prefect_api.task_runs import TaskApi
from prefect_monitoring.prefect_api.trend_stores import TrendStoreApi


@dataclass(frozen=True, slots=True)
class Readers:
    """The readers of all subjects, which share the ledger of `flow_runs`."""

    flow_runs: Reader
    task_runs: TaskReader
    log_lines: LogReader
    inventory: InventoryReader
    failed_actions: FailedActionReader
    heartbeats: HeartbeatReader
    trend_stores: TrendStoreReader
    assets: AssetReader
    reconciliations: tuple[Reconciliation, ...]
    metrics: MetricSettings

    def reconciliation_of(self, cursor: str) -> Reconciliation:
        """The reconciliation of a kind of finished runs. KeyError where the API cannot count them."""
        return {reconciliation.source: reconciliation for reconciliation in self.reconciliations}[cursor]


def make_readers(
    settings: Settings, ledger: Ledger, http: PrefectHttp, clock: Callable[[], float] = time.time
) -> Readers:
    own_causes = [CausePattern(rule.cause, compile_pattern(rule.pattern)) for rule in settings.labels.failure_causes]
    cause = partial(cause_of, extra=own_causes)
    api = PrefectApi(http)
    declared = settings.metrics.custom_metrics
    reader = Reader(
        api=api,
        ledger=ledger,
        catalog=Catalog(settings.filters, settings.labels, ledger.keys, declared),
        cause_of=cause,
        clock=clock,
    )
    events = EventsApi(http)
    tasks = TaskReader(reader, TaskApi(api.paginator), cause)
    inventory = InventoryReader(reader, InventoryApi(api.paginator, clock), settings.filters, settings.labels)
    return Readers(
        flow_runs=reader,
        task_runs=tasks,
        log_lines=LogReader(tasks, LogApi(api.paginator), cause, declarations_of(declared, LOG_LINES)),
        inventory=inventory,
        failed_actions=FailedActionReader(reader, events, lambda: inventory.automation_names),
        heartbeats=HeartbeatReader(reader, events, settings.poll.heartbeat_interval),
        trend_stores=TrendStoreReader(reader, TrendStoreApi(api.paginator), declared),
        assets=AssetReader(
            reader,
            events,
            settings.metrics.assets,
            declarations_of(declared, ASSET_EVENTS),
            max_assets=settings.labels.max_assets,
            lookback=lookbacks(settings.history)[ASSET_EVENTS],
        ),
        metrics=settings.metrics,
        reconciliations=(
            Reconciliation(
                reader=reader,
                source=FLOW_RUNS,
                kinds=TERMINAL_TYPES,
                count=api.ended_by_type,
                finished=reader.finished,
            ),
            Reconciliation(
                reader=reader,
                source=TASK_RUNS,
                kinds=TERMINAL_TYPES | {ROLLED_BACK},
                count=tasks.api.ended_by_kind,
                finished=tasks.finished,
                is_possible=lambda: tasks.api.filters_ends,
            ),
        ),
    )


@dataclass(frozen=True, slots=True)
class Probe:
    """A small reading, with which `check` tests whether `what` can be read."""

    what: str
    read: Callable[[PrefectApi], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class SourceEntry:
    """A source: when and how it is read, and what it waits for.

    `read` may raise ApiError or LedgerError; its deadline is `source_timeout`.
    `cursor`: the ledger's cursor of a counted source; `lookback`: how far back it begins.
    `gates_ready`: the exporter is not ready before the baseline of its cursor is complete.
    `after`: sources of the same turn that are read first, successfully or not.
    `follows`: the source whose result decides what to request.
    `requires`: cursors whose baseline must be complete before it is read.
    `prefers`: the same, unless the source of that cursor is failing, so that its outage does not delay this one.
    `compares`: the source whose records it compares with the API's counts, once that one is read to the end.
    `is_possible`: whether the server can answer, as far as is known.
    `is_wanted`: whether any declared or shown metric needs it; otherwise it is neither read nor reported.
    """

    name: str
    turn: Turn
    read: Callable[[Readers, Scope], Awaitable[Reading]]
    probes: tuple[Probe, ...] = ()
    cursor: str = ""
    lookback: Lookback = Lookback.DETAILS
    gates_ready: bool = False
    after: tuple[str, ...] = ()
    follows: str = ""
    requires: tuple[str, ...] = ()
    prefers: tuple[str, ...] = ()
    compares: str = ""
    is_possible: Callable[[Readers], bool] = lambda _: True
    is_wanted: Callable[[MetricSettings], bool] = lambda _: True


FINISHED_FLOW_RUNS: Final = "finished_flow_runs"
ACTIVE_FLOW_RUNS: Final = "active_flow_runs"
HEARTBEATS: Final = "heartbeats"
FINISHED_TASK_RUNS: Final = "finished_task_runs"
ACTIVE_TASK_RUNS: Final = "active_task_runs"
FLOWS: Final = "flows"
DEPLOYMENTS: Final = "deployments"
_AUTOMATIONS: Final = "automations"
_AUDIT_FLOW_RUNS: Final = "audit_flow_runs"
_NAMES: Final = (FLOWS, DEPLOYMENTS)
_POOLS: Final = (
    "prefect_work_pool_info",
    "prefect_work_pool_last_heartbeat_timestamp_seconds",
    "prefect_work_pool_paused",
    "prefect_work_pool_ready",
    "prefect_work_pool_slots",
    "prefect_work_pool_slots_used",
    "prefect_work_pool_workers",
)
_QUEUES: Final = (
    "prefect_work_queue_last_polled_timestamp_seconds",
    "prefect_work_queue_late_runs",
    "prefect_work_queue_paused",
    "prefect_work_queue_ready",
    "prefect_work_queue_slots",
    "prefect_work_queue_slots_used",
)


def _counted_from(cursor: str) -> tuple[str, ...]:
    """The exposed names of metrics that are counted from the source with this cursor."""
    return tuple(name for row in COUNTED_METRICS.values() if cursor in row.sources for name in row.families)


_TASKS: Final = (*_counted_from(TASK_RUNS), "prefect_task_run_time_share_ratio")
_LINES: Final = (*_counted_from(LOG_LINES), "prefect_custom_metric_last_observed_timestamp_seconds")


def _shows(*names: str) -> Callable[[MetricSettings], bool]:
    """Whether any of these metrics is shown: a source that only they need is not read when all are switched off."""

    def shows(metrics: MetricSettings) -> bool:
        off, on = set(metrics.metrics_off), set(metrics.metrics_on)
        return any(name not in off and (name in on or _is_shown_by_default(name)) for name in names)

    return shows


def _is_shown_by_default(name: str) -> bool:
    return name not in COUNTED_METRICS or COUNTED_METRICS[name].by_default


def _shows_lines(metrics: MetricSettings) -> bool:
    declared = any(metric.enabled and metric.cursor == LOG_LINES for metric in metrics.custom_metrics)
    return declared or _shows(*_LINES)(metrics)


# Probes request objects that cannot exist, so that the answer is empty and cheap.
_NOBODY: Final = (str(UUID(int=0)),)
_NO_NAME: Final = ("no-type/no-name",)
_NEVER: Final = 4e9


async def _probe_histories(api: PrefectApi) -> None:
    fault = (await api.histories(_NOBODY)).fault
    if fault is not None:
        raise fault


async def _probe_task_run_counts(api: PrefectApi) -> None:
    tasks = TaskApi(api.paginator)
    await tasks.finished_page(_NEVER, None, 0)  # finds out whether the server can count by ends
    if tasks.filters_ends:
        await tasks.count(0, 1)


# In the order of the status page and the metrics; a backfill loads those with a cursor in this order.
SOURCES: Final = (
    SourceEntry(
        FINISHED_FLOW_RUNS,
        Turn.POLL,
        lambda readers, scope: readers.flow_runs.read_finished(scope.budget),
        (
            Probe("finished flow runs", lambda api: api.finished_page(_NEVER, None, 0)),
            Probe("flow run states", _probe_histories),
        ),
        cursor=FLOW_RUNS,
        lookback=Lookback.RUNS,
        gates_ready=True,
    ),
    SourceEntry(
        ACTIVE_FLOW_RUNS,
        Turn.POLL,
        lambda readers, scope: readers.flow_runs.read_under_way(scope.budget),
        (Probe("active flow runs", lambda api: api.active_runs(most=0)),),
    ),
    SourceEntry(
        HEARTBEATS,
        Turn.POLL,
        lambda readers, _: readers.heartbeats.read(),
        after=(ACTIVE_FLOW_RUNS,),
        follows=ACTIVE_FLOW_RUNS,
        is_wanted=_shows("prefect_flow_run_heartbeat_timestamp_seconds", "prefect_flow_runs_unresponsive"),
    ),
    # Before the baseline of flow runs is complete, the flow runs of task runs would be requested one by one.
    SourceEntry(
        FINISHED_TASK_RUNS,
        Turn.DETAILS,
        lambda readers, scope: readers.task_runs.read_finished(scope.budget),
        (Probe("task runs", lambda api: TaskApi(api.paginator).finished_page(_NEVER, None, 0)),),
        cursor=TASK_RUNS,
        requires=(FLOW_RUNS,),
        is_wanted=_shows(*_TASKS),
    ),
    SourceEntry(
        ACTIVE_TASK_RUNS,
        Turn.DETAILS,
        lambda readers, _: readers.task_runs.read_under_way(),
        follows=ACTIVE_FLOW_RUNS,
        requires=(FLOW_RUNS,),
        is_wanted=_shows("prefect_task_runs"),
    ),
    SourceEntry(
        "log_lines",
        Turn.DETAILS,
        lambda readers, scope: readers.log_lines.read(scope.budget),
        (Probe("log lines", lambda api: LogApi(api.paginator).page(_NEVER, None, 0)),),
        cursor=LOG_LINES,
        after=(FINISHED_TASK_RUNS, ACTIVE_TASK_RUNS),
        requires=(FLOW_RUNS,),
        prefers=(TASK_RUNS,),
        is_wanted=_shows_lines,
    ),
    SourceEntry(
        FLOWS,
        Turn.INVENTORY,
        lambda readers, _: readers.flow_runs.read_flows(),
        (Probe("flows", lambda api: api.flows(_NOBODY)),),
    ),
    SourceEntry(
        DEPLOYMENTS,
        Turn.INVENTORY,
        lambda readers, _: readers.flow_runs.read_deployments(),
        (Probe("deployments", lambda api: api.deployments(_NOBODY)),),
    ),
    SourceEntry(
        "work_pools",
        Turn.INVENTORY,
        lambda readers, _: readers.inventory.read_work_pools(),
        (Probe("work pools", lambda api: InventoryApi(api.paginator).work_pools()),),
        after=_NAMES,
        is_wanted=_shows(*_POOLS),
    ),
    SourceEntry(
        "work_queues",
        Turn.INVENTORY,
        lambda readers, _: readers.inventory.read_work_queues(),
        (Probe("work queues", lambda api: InventoryApi(api.paginator).work_queues()),),
        after=_NAMES,
        is_wanted=_shows(*_QUEUES),
    ),
    SourceEntry(
        "concurrency_limits",
        Turn.INVENTORY,
        lambda readers, _: readers.inventory.read_concurrency_limits(),
        (Probe("concurrency limits", lambda api: InventoryApi(api.paginator).concurrency_limits()),),
        after=_NAMES,
        is_wanted=_shows("prefect_concurrency_limit_slots", "prefect_concurrency_limit_slots_used"),
    ),
    SourceEntry(
        _AUTOMATIONS,
        Turn.INVENTORY,
        lambda readers, _: readers.inventory.read_automations(),
        (Probe("automations", lambda api: InventoryApi(api.paginator).automations()),),
        after=_NAMES,
        is_wanted=_shows("prefect_automations", FAILED_ACTIONS),
    ),
    SourceEntry(
        "failed_actions",
        Turn.INVENTORY,
        lambda readers, _: readers.failed_actions.read(),
        (Probe("events of automations", lambda api: EventsApi(api.paginator.http).failed_actions(_NEVER, _NEVER)),),
        cursor=AUTOMATION_EVENTS,
        after=(_AUTOMATIONS,),
        follows=_AUTOMATIONS,
        is_wanted=_shows(*_counted_from(AUTOMATION_EVENTS)),
    ),
    SourceEntry(
        "trend_stores",
        Turn.INVENTORY,
        lambda readers, _: readers.trend_stores.read(),
        (
            Probe("variables", lambda api: TrendStoreApi(api.paginator).variables(_NO_NAME)),
            Probe("blocks", lambda api: TrendStoreApi(api.paginator).blocks(_NO_NAME)),
        ),
        is_wanted=lambda metrics: any(metric.is_trend and metric.enabled for metric in metrics.custom_metrics),
    ),
    SourceEntry(
        "assets",
        Turn.INVENTORY,
        lambda readers, _: readers.assets.read(),
        (Probe("events of assets", lambda api: EventsApi(api.paginator.http).materializations(_NEVER, _NEVER)),),
        cursor=ASSET_EVENTS,
        is_wanted=lambda metrics: bool(metrics.assets),
    ),
    SourceEntry(
        "dues",
        Turn.INVENTORY,
        lambda readers, _: readers.inventory.read_schedules(),
        (Probe("scheduled runs", lambda api: InventoryApi(api.paginator).next_starts(_NOBODY, _NEVER)),),
        after=_NAMES,
        follows=DEPLOYMENTS,
    ),
    SourceEntry(
        _AUDIT_FLOW_RUNS,
        Turn.AUDIT,
        lambda readers, scope: readers.reconciliation_of(FLOW_RUNS).read(scope.until),
        (Probe("flow run counts", lambda api: api.ended_by_type(0, 1, ("FAILED",))),),
        requires=(FLOW_RUNS,),
        compares=FINISHED_FLOW_RUNS,
    ),
    SourceEntry(
        "audit_task_runs",
        Turn.AUDIT,
        lambda readers, scope: readers.reconciliation_of(TASK_RUNS).read(scope.until),
        (Probe("task run counts", _probe_task_run_counts),),
        after=(_AUDIT_FLOW_RUNS,),
        requires=(TASK_RUNS,),
        compares=FINISHED_TASK_RUNS,
        is_possible=lambda readers: readers.reconciliation_of(TASK_RUNS).is_possible(),
        is_wanted=_shows(*_TASKS),
    ),
)
COUNTED_SOURCES: Final[Mapping[str, SourceEntry]] = {entry.cursor: entry for entry in SOURCES if entry.cursor}


# Their readers try again what was set aside; lists are read anew each time.
_TRIED_AGAIN: Final = frozenset({FLOW_RUNS, TASK_RUNS, LOG_LINES, AUTOMATION_EVENTS, ASSET_EVENTS})


def cursor_of(entry: SourceEntry) -> str:
    """The cursor under which a source's unreadable records are kept to be tried again; "" where they are not kept."""
    cursor = entry.cursor or next((one.cursor for one in SOURCES if one.name == entry.compares), "")
    return cursor if cursor in _TRIED_AGAIN else ""


async def read_source(entry: SourceEntry, readers: Readers, scope: Scope) -> Reading:
    """One reading; a record that cannot be read is set aside. Raises ApiError or LedgerError."""
    with readers.flow_runs.aside.reading(entry.name, cursor_of(entry)):
        return await entry.read(readers, scope)


def lookbacks(settings: HistorySettings) -> dict[str, float]:
    """How far back each cursor reaches, in seconds: no further than that of the runs."""
    longest = settings.lookback
    return {cursor: min(float(getattr(settings, entry.lookback)), longest) for cursor, entry in COUNTED_SOURCES.items()}


def stages(entries: Iterable[SourceEntry]) -> tuple[Sequence[SourceEntry], ...]:
    """The entries of one turn in reading order; those of a stage are read concurrently.

    Raises ValueError for circular dependencies.
    """
    waiting, ordered = list(entries), []
    while waiting:
        names = {entry.name for entry in waiting}
        stage = [entry for entry in waiting if names.isdisjoint(entry.after)]
        if not stage:
            raise ValueError(f"these sources wait for each other: {', '.join(sorted(names))}")
        ordered.append(stage)
        waiting = [entry for entry in waiting if entry not in stage]
    return tuple(ordered)
