"""What is read, how often and in which order, and when the result becomes visible."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Final

from prefect_monitoring.config.settings import AlertSettings, HistorySettings, PollSettings, Settings
from prefect_monitoring.ingest.log_lines import LINES_KEPT_SECONDS
from prefect_monitoring.ingest.source import OutageLog, Scope, Source, Turn
from prefect_monitoring.ingest.sources import (
    COUNTED_SOURCES,
    DEPLOYMENTS,
    SOURCES,
    Readers,
    SourceEntry,
    lookbacks,
    read_source,
    stages,
)
from prefect_monitoring.ledger.errors import LedgerError
from prefect_monitoring.ledger.retention import Keep
from prefect_monitoring.model.changes import SeriesKey
from prefect_monitoring.model.cursor import FLOW_RUNS
from prefect_monitoring.model.records import Pipeline
from prefect_monitoring.model.run_stats import FailureKey
from prefect_monitoring.model.series import Hold
from prefect_monitoring.model.sink_status import SinkStatus
from prefect_monitoring.model.units import HOUR
from prefect_monitoring.policy.reloader import PolicyReloader
from prefect_monitoring.policy.resolve import Policy
from prefect_monitoring.prefect_api.client import Traffic
from prefect_monitoring.prefect_api.errors import ApiError
from prefect_monitoring.runtime.scheduler import Every, Job, Scheduler
from prefect_monitoring.snapshot.builder import SnapshotBuilder, find_links
from prefect_monitoring.snapshot.live_runs import LiveRunStats
from prefect_monitoring.snapshot.model import ActionsReport, Links, Snapshot

log = logging.getLogger(__name__)

PRUNE_INTERVAL: Final = HOUR
DETAILS_PATIENCE: Final = 2.0
# A new failure is exposed for at least this long, whatever completes meanwhile: Prometheus and Alertmanager need a
# minute or two to notify.
FAILURE_SHOWN_SECONDS: Final = 300.0
BUDGET_OF_INTERVAL: Final = 0.9
_STAGES: Final = {turn: stages(entry for entry in SOURCES if entry.turn is turn) for turn in Turn}

PlanActions = Callable[[Mapping[Pipeline, Policy], float], ActionsReport | None]
"""Decides which failed runs to retry, given policies and time; returns the report about actions."""


class Poller:
    """Runs the readings and hands each resulting snapshot to `publish`, which returns once a scrape can see it.

    Birth holds begin then. `plan` runs on the ledger's thread before each snapshot: runs that it decides to retry are
    not shown as failed.
    """

    def __init__(
        self,
        readers: Readers,
        settings: PollSettings,
        history: HistorySettings,
        alerts: AlertSettings,
        policies: PolicyReloader,
        links: Links,
        traffic: Traffic,
        publish: Callable[[Snapshot], Awaitable[None]],
        clock: Callable[[], float],
        plan: PlanActions = lambda _policies, _now: None,
        sinks: Callable[[], tuple[SinkStatus, ...]] = tuple,
        failure_message: str = "line",
    ) -> None:
        self._readers = readers
        self._reader = readers.flow_runs
        self._ledger = readers.flow_runs.ledger
        self._settings = settings
        self._history = history
        self._publish = publish
        self._plan_actions = plan
        self._actions: ActionsReport | None = None
        self._clock = clock
        self._hold: Hold[SeriesKey] = Hold(history.birth_hold)
        self._failures: Hold[FailureKey] = Hold(FAILURE_SHOWN_SECONDS)
        self._details: asyncio.Task[None] | None = None
        self._pruned_at = clock()
        self._run_stats = LiveRunStats(alerts.failures_unresolved_for)
        outages = OutageLog()
        self.sources: Mapping[str, Source] = {
            entry.name: Source(entry.name, settings.source_timeout, outages, clock) for entry in SOURCES
        }
        self._policies = policies
        self._builder = SnapshotBuilder(
            readers=readers,
            settings=settings,
            traffic=traffic,
            sources=self.sources,
            run_stats=self._run_stats,
            policies=policies,
            links=links,
            alerts=alerts,
            sinks=sinks,
            failure_message=failure_message,
        )

    def start(self, other_jobs: Iterable[Job] = ()) -> Scheduler:
        """Starts the readings and the `other_jobs`; the caller stops the scheduler."""
        settings = self._settings
        turns = (
            (Turn.POLL, settings.poll_interval, self.poll),
            (Turn.DETAILS, settings.poll_interval, self.poll_details),
            (Turn.INVENTORY, settings.inventory_interval, self.take_inventory),
            (Turn.AUDIT, settings.audit_interval, self.audit),
        )
        scheduler = Scheduler(
            [
                *(
                    Job(turn.value, Every(seconds), work, partial(self._has_more, turn))
                    for turn, seconds, work in turns
                ),
                *other_jobs,
            ]
        )
        scheduler.start()
        return scheduler

    async def poll(self) -> None:
        """Reads finished and active flow runs concurrently, and publishes the result, whether or not that worked."""
        baseline_was_complete = self._ledger.cursor.baseline_complete
        await self._take(Turn.POLL)
        if self._details is not None:  # usually done at about the same time; the wait is short
            await asyncio.wait([self._details], timeout=DETAILS_PATIENCE)
        await self.publish()
        if not baseline_was_complete:
            self._log_baseline()

    async def poll_details(self) -> None:
        """Reads task runs and log lines; the next publication shows them."""
        self._details = asyncio.current_task()
        try:
            await self._take(Turn.DETAILS)
        finally:
            self._details = None

    async def take_inventory(self) -> None:
        """Reads flows, deployments, pools and so on."""
        if not self._reader.server_version:
            await self._read_version()
        await self._take(Turn.INVENTORY)
        if self.sources[DEPLOYMENTS].last_success is not None:
            with suppress(LedgerError):  # the next commit fails too, and reports it
                await self._reader.create_zero_born_series()
        if self._clock() - self._pruned_at >= PRUNE_INTERVAL:
            await self._prune()

    async def audit(self) -> None:
        """Compares closed hours with the API's counts."""
        await self._take(Turn.AUDIT)

    async def publish(self) -> None:
        """Builds a snapshot of the present state and publishes it."""
        now = self._clock()
        try:
            await self._reader.in_ledger(self._refresh, now)
        except LedgerError as fault:
            log.debug("The snapshot is made of what is in memory: %s", fault)
        snapshot, in_birth_hold = await self._reader.in_ledger(self._builder.take, now, self._actions)
        await self._publish(snapshot)
        await self._reader.in_ledger(self._hold.show, in_birth_hold, self._clock())
        await self._reader.in_ledger(self._failures.show, self._run_stats.held, self._clock())

    async def _take(self, turn: Turn) -> None:
        """Reads the sources of `turn` that can be read now: stage by stage, those of a stage concurrently."""
        for stage in _STAGES[turn]:
            await asyncio.gather(*(self._read(entry) for entry in stage if self._is_due(entry)))

    async def _read(self, entry: SourceEntry) -> None:
        until = self.sources[entry.compares].complete_to if entry.compares else None
        scope = Scope(self._budget, until)
        follows = self.sources[entry.follows] if entry.follows else None
        await self.sources[entry.name].read(lambda: read_source(entry, self._readers, scope), follows)

    def _is_due(self, entry: SourceEntry) -> bool:
        """Whether the conditions for reading the entry are met."""
        return (
            all(self._has_baseline(cursor) for cursor in entry.requires)
            and all(self._has_baseline(cursor) or not self._source_of(cursor).up for cursor in entry.prefers)
            and (not entry.compares or self.sources[entry.compares].complete_to is not None)
            and entry.is_possible(self._readers)
            and entry.is_wanted(self._readers.metrics)
        )

    def _has_baseline(self, cursor: str) -> bool:
        return self._ledger.cursors[cursor].baseline_complete

    def _source_of(self, cursor: str) -> Source:
        return self.sources[COUNTED_SOURCES[cursor].name]

    def _has_more(self, turn: Turn) -> bool:
        """Whether a source has more to read at once: its baseline, or a backlog after an outage."""
        return any(self.sources[entry.name].has_more for entry in SOURCES if entry.turn is turn)

    @property
    def _budget(self) -> float:
        """Seconds after which a reading requests no further page; the next one, at once, reads the rest."""
        return min(self._settings.source_timeout / 2, BUDGET_OF_INTERVAL * self._settings.poll_interval)

    async def _read_version(self) -> None:
        try:
            async with asyncio.timeout(self._settings.source_timeout):
                await self._reader.read_version()
        except (ApiError, TimeoutError) as error:
            log.debug("The server's version is not known: %s", error)

    def _log_baseline(self) -> None:
        cursor, records = self._ledger.cursor, self._source_of(FLOW_RUNS).records
        if cursor.baseline_complete:
            log.info("The baseline is complete: %d finished runs; from now on every outcome counts", records)
        elif cursor.page_before is not None:
            back_to = datetime.fromtimestamp(cursor.page_before, UTC)
            log.info("Loading the baseline: %d runs, back to %s", records, back_to.isoformat())

    async def _prune(self) -> None:
        try:
            await self._reader.in_ledger(self._forget)
        except LedgerError as fault:
            log.warning("Nothing was pruned: %s", fault)
        self._pruned_at = self._clock()

    def _forget(self) -> None:
        live = self._reader.catalog.live_pipelines(self._ledger.names)
        keep = Keep(
            lookbacks=lookbacks(self._history),
            lines=LINES_KEPT_SECONDS,
            dead_series=self._history.series_ttl,
        )
        self._ledger.prune(self._clock(), keep=keep, live=live)
        self._reader.catalog.keep(self._ledger.keys)

    def _refresh(self, now: float) -> None:
        """Ends birth holds that are due, and updates policies and run statistics."""
        due = self._hold.due(now)
        self._ledger.release(due, now)
        self._hold.forget(due)
        shown = self._failures.due(now)
        self._ledger.release_failures(shown)
        self._failures.forget(shown)
        catalog, names = self._reader.catalog, self._ledger.names
        live = catalog.live_pipelines(names)
        self._policies.renew(catalog.live_deployments(names), live, now)
        self._actions = self._plan_actions(self._policies.current, now)
        windows = {pipeline: policy.window for pipeline, policy in self._policies.current.items()}
        self._run_stats.renew(self._ledger, now, windows, live)


def make_poller(
    readers: Readers,
    settings: Settings,
    traffic: Traffic,
    publish: Callable[[Snapshot], Awaitable[None]],
    clock: Callable[[], float] = time.time,
    plan: PlanActions = lambda _policies, _now: None,
    sinks: Callable[[], tuple[SinkStatus, ...]] = tuple,
) -> Poller:
    """A poller with the groups of settings that its parts need. Raises SettingsError for a broken pipelines file."""
    return Poller(
        readers,
        settings.poll,
        settings.history,
        settings.alerts,
        PolicyReloader(settings.policy, settings.labels, readers.flow_runs.ledger, clock()),
        find_links(settings.links),
        traffic,
        publish,
        clock,
        plan,
        sinks,
        settings.labels.failure_message,
    )
