"""What is read, how often, in what order, and when the result becomes visible."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Final

from prefect_monitoring.config.settings import HistorySettings, PollSettings, Settings
from prefect_monitoring.ingest.log_lines import LINES_KEPT_SECONDS
from prefect_monitoring.ingest.readers import Readers
from prefect_monitoring.ingest.reconcile import RECENT_SECONDS, Audit
from prefect_monitoring.ingest.source import OutageLog, Reading, Source
from prefect_monitoring.ledger.errors import LedgerError
from prefect_monitoring.ledger.retention import Keep
from prefect_monitoring.model.cursor import FLOW_RUNS, TASK_RUNS
from prefect_monitoring.model.series import BirthHold
from prefect_monitoring.model.units import HOUR
from prefect_monitoring.policy.reloader import PolicyBook
from prefect_monitoring.prefect_api.client import Traffic
from prefect_monitoring.prefect_api.errors import ApiError
from prefect_monitoring.runtime.scheduler import Job, Jobs
from prefect_monitoring.snapshot.builder import (
    Live,
    Picture,
    Sources,
    Standings,
    find_links,
)
from prefect_monitoring.snapshot.model import AuditReport, Links, Snapshot

log = logging.getLogger(__name__)

PRUNE_INTERVAL: Final = HOUR
WHOLE_AUDIT_INTERVAL: Final = HOUR
DETAILS_PATIENCE: Final = 2.0
BUDGET_OF_INTERVAL: Final = 0.9


class Poller:
    """Runs the readings and hands each resulting snapshot to `publish`."""

    def __init__(
        self,
        readers: Readers,
        settings: PollSettings,
        history: HistorySettings,
        policies: PolicyBook,
        links: Links,
        traffic: Traffic,
        publish: Callable[[Snapshot], None],
        clock: Callable[[], float],
    ) -> None:
        self._readers = readers
        self._reader = readers.flow_runs
        self._ledger = readers.flow_runs.ledger
        self._settings = settings
        self._history = history
        self._publish = publish
        self._clock = clock
        self._hold = BirthHold(history.birth_hold)
        self._details: asyncio.Task[None] | None = None
        self._pruned_at = clock()
        self._whole_audits: dict[str, tuple[float, int]] = {}
        self._live = Live()
        self._standings = Standings()
        self.sources = self._make_sources()
        self._policies = policies
        self._picture = Picture(
            readers=readers,
            settings=settings,
            traffic=traffic,
            sources=self.sources,
            live=self._live,
            standings=self._standings,
            policies=policies,
            links=links,
        )

    def _make_sources(self) -> Sources:
        outages = OutageLog()

        def source(name: str) -> Source:
            return Source(name, self._settings.source_timeout, outages, self._clock)

        return Sources(
            finished=source("finished_flow_runs"),
            active=source("active_flow_runs"),
            finished_tasks=source("finished_task_runs"),
            active_tasks=source("active_task_runs"),
            log_lines=source("log_lines"),
            flows=source("flows"),
            deployments=source("deployments"),
            inventory={name: source(name) for name in self._readers.inventory.sources()},
            audits={audit.source: source(f"audit_{audit.source}") for audit in self._readers.audits},
        )

    def start(self) -> Jobs:
        """Begins to read; the caller stops it."""
        sources, settings = self.sources, self._settings
        return Jobs(
            [
                Job(self.poll, settings.poll_interval, (sources.finished,)),
                Job(self.poll_details, settings.poll_interval, (sources.finished_tasks, sources.log_lines)),
                Job(self.take_inventory, settings.inventory_interval),
                Job(self.audit, settings.audit_interval),
            ]
        )

    async def poll(self) -> None:
        """Reads finished and active flow runs side by side, and publishes whatever came of it."""
        level_was_complete = self._ledger.cursor.level_complete
        await asyncio.gather(
            self.sources.finished.read(self._read_finished), self.sources.active.read(self._reader.read_under_way)
        )
        self._live.polled = self._live.polled or bool(self.sources.finished.up)
        if self._details is not None:  # mostly done at about the same time; never waited for long
            await asyncio.wait([self._details], timeout=DETAILS_PATIENCE)
        await self.publish()
        if not level_was_complete:
            self._tell_level()

    async def poll_details(self) -> None:
        """Reads task runs and log lines; the next publication shows them."""
        if not self._ledger.cursor.level_complete:
            return  # their flow runs are on their way, and would be asked for one by one
        self._details = asyncio.current_task()
        try:
            await asyncio.gather(
                self.sources.finished_tasks.read(self._read_finished_tasks),
                self.sources.active_tasks.read(self._readers.task_runs.read_under_way),
            )
            # Until the level of the task runs is there, lines would ask for their names one by one.
            if self._ledger.cursors[TASK_RUNS].level_complete or not self.sources.finished_tasks.up:
                await self.sources.log_lines.read(lambda: self._readers.log_lines.read(self._budget))
        finally:
            self._details = None

    async def take_inventory(self) -> None:
        """Reads what exists."""
        if not self._live.prefect_version:
            await self._read_version()
        readings = self._readers.inventory.sources()
        await asyncio.gather(
            self.sources.flows.read(self._reader.read_flows),
            self.sources.deployments.read(self._reader.read_deployments),
        )
        await asyncio.gather(*(source.read(readings[name]) for name, source in self.sources.inventory.items()))
        if self.sources.deployments.last_success is not None:
            with suppress(LedgerError):  # which the next commit meets again, and tells
                await self._reader.bear()
        if self._clock() - self._pruned_at >= PRUNE_INTERVAL:
            await self._prune()

    async def audit(self) -> None:
        """Compares closed hours with what the API counts there."""
        read_until = {FLOW_RUNS: self.sources.finished.complete_to}
        for audit in self._readers.audits:
            until = read_until.get(audit.source, self.sources.finished_tasks.complete_to)
            ready = self._ledger.cursors[audit.source].level_complete and audit.is_possible()
            if ready and until is not None:
                await self.sources.audits[audit.source].read(partial(self._audit, audit, until))

    async def publish(self) -> None:
        """Builds a snapshot of what is known now and hands it over."""
        now = self._clock()
        try:
            await self._reader.in_ledger(self._refresh, now)
        except LedgerError as fault:
            log.debug("The snapshot is made of what is in memory: %s", fault)
        snapshot, held = await self._reader.in_ledger(self._picture.take, now)
        await asyncio.to_thread(self._publish, snapshot)
        await self._reader.in_ledger(self._hold.show, held, self._clock())

    @property
    def _budget(self) -> float:
        """Seconds after which a reading begins no further page: what is left goes into the next one, at once."""
        return min(self._settings.source_timeout / 2, BUDGET_OF_INTERVAL * self._settings.poll_interval)

    async def _read_version(self) -> None:
        try:
            async with asyncio.timeout(self._settings.source_timeout):
                self._live.prefect_version = await self._reader.api.version()
        except (ApiError, TimeoutError) as error:
            log.debug("The server's version is not known: %s", error)

    async def _read_finished(self) -> Reading:
        return await self._reader.walk_finished(self._budget)

    async def _read_finished_tasks(self) -> Reading:
        return await self._readers.task_runs.read_finished(self._budget)

    async def _audit(self, audit: Audit, until: float) -> Reading:
        """The last day each time, everything once an hour; what was missing of everything stays told until the next."""
        now = self._clock()
        whole_at, still_missing = self._whole_audits.get(audit.source, (0.0, 0))
        whole = now - whole_at >= WHOLE_AUDIT_INTERVAL
        try:
            verdict = await audit.closed_hours(0.0 if whole else until - RECENT_SECONDS, until)
        except ApiError:
            if audit.is_possible():
                raise
            return Reading(0)
        if whole:
            self._whole_audits[audit.source] = (now, verdict.missing)
        missing = verdict.missing if whole else max(verdict.missing, still_missing)
        self._live.audits[audit.source] = AuditReport(missing, now)
        return Reading(verdict.read_again)

    def _tell_level(self) -> None:
        cursor, records = self._ledger.cursor, self.sources.finished.records
        if cursor.level_complete:
            log.info("The starting level is complete: %d finished runs; from now on every outcome counts", records)
        elif cursor.walk_before is not None:
            back_to = datetime.fromtimestamp(cursor.walk_before, UTC)
            log.info("Loading the starting level: %d runs, back to %s", records, back_to.isoformat())

    async def _prune(self) -> None:
        try:
            await self._reader.in_ledger(self._forget)
        except LedgerError as fault:
            log.warning("Nothing was pruned: %s", fault)
        self._pruned_at = self._clock()

    def _forget(self) -> None:
        live = self._reader.catalog.live_pairs(self._ledger.names)
        keep = Keep(
            runs=self._history.lookback,
            task_runs=min(self._history.task_lookback, self._history.lookback),
            lines=LINES_KEPT_SECONDS,
            dead_series=self._history.series_ttl,
        )
        self._ledger.prune(self._clock(), keep=keep, live=live)
        self._reader.catalog.keep(self._ledger.series)

    def _refresh(self, now: float) -> None:
        """Ends birth holds that are due, and renews what is declared about pairs and how they stand."""
        due = self._hold.due(now)
        self._ledger.release(due, now)
        self._hold.forget(due)
        catalog, names = self._reader.catalog, self._ledger.names
        self._policies.renew(catalog.live_deployments(names), catalog.live_pairs(names), now)
        windows = {pair: policy.window for pair, policy in self._policies.now.items()}
        self._standings.renew(self._ledger, now, windows)


def make_poller(
    readers: Readers,
    settings: Settings,
    traffic: Traffic,
    publish: Callable[[Snapshot], None],
    clock: Callable[[], float] = time.time,
) -> Poller:
    """A poller, each part of it with its group of the settings. Raises SettingsError for a broken pipelines file."""
    return Poller(
        readers,
        settings.poll,
        settings.history,
        PolicyBook(settings.policy, settings.labels, readers.flow_runs.ledger, clock()),
        find_links(settings.links),
        traffic,
        publish,
        clock,
    )
