"""What is read, how often, in what order, and when the result becomes visible."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

from apscheduler.schedulers.asyncio import AsyncIOScheduler

from prefect_monitoring import __version__
from prefect_monitoring.fold import HOUR, SeriesKey
from prefect_monitoring.ledger_file import LedgerError
from prefect_monitoring.memory import Standing
from prefect_monitoring.prefect_http import ApiError, Traffic
from prefect_monitoring.reader import Reader
from prefect_monitoring.recheck import recheck
from prefect_monitoring.records import Pair
from prefect_monitoring.series import BirthHold
from prefect_monitoring.settings import Settings
from prefect_monitoring.snapshot import ActiveRuns, Health, SelfReport, Snapshot, shown, summarise_active
from prefect_monitoring.sources import OutageLog, Reading, Source

log = logging.getLogger(__name__)

STALE_AFTER_INTERVALS: Final = 3
PRUNE_INTERVAL: Final = HOUR


class Poller:
    """Runs the readings and hands each resulting snapshot to `publish`."""

    def __init__(
        self,
        reader: Reader,
        settings: Settings,
        traffic: Traffic,
        publish: Callable[[Snapshot], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._reader = reader
        self._ledger = reader.ledger
        self._settings = settings
        self._traffic = traffic
        self._publish = publish
        self._clock = clock
        self._hold = BirthHold(settings.birth_hold)
        self._active: ActiveRuns | None = None
        self._standings: dict[Pair, Standing] = {}
        self._standings_hour = 0
        self._polled = False
        self._pruned_at = clock()
        self._prefect_version = ""
        outages = OutageLog()
        self.finished, self.active, self.flows, self.deployments, self.rechecked = self.sources = tuple(
            Source(name, settings.source_timeout, outages, clock)
            for name in ("finished_flow_runs", "active_flow_runs", "flows", "deployments", "recheck")
        )

    def start(self) -> AsyncIOScheduler:
        """Schedules the readings, the first ones now. The caller shuts the scheduler down."""
        scheduler = AsyncIOScheduler(timezone="UTC")
        for job, seconds in (
            (self.poll, self._settings.poll_interval),
            (self.take_inventory, self._settings.inventory_interval),
        ):
            scheduler.add_job(
                job,
                "interval",
                seconds=seconds,
                next_run_time=datetime.now(UTC),
                coalesce=True,
                max_instances=1,
                misfire_grace_time=None,
            )
        logging.getLogger("apscheduler").setLevel(logging.ERROR)  # a long catch-up skips turns; that is no news
        scheduler.start()
        return scheduler

    async def take_inventory(self) -> None:
        """Reads what exists, then compares closed hours with what the API counts there."""
        if not self._prefect_version:
            await self._read_version()
        await asyncio.gather(
            self.flows.read(self._reader.read_flows), self.deployments.read(self._reader.read_deployments)
        )
        if self.deployments.last_success is not None:
            with suppress(LedgerError):  # which the next commit meets again, and tells
                await self._reader.bear()
        read_until = self.finished.complete_to
        if self._ledger.cursor.level_complete and read_until is not None:
            await self.rechecked.read(lambda: recheck(self._reader, read_until))
        if self._clock() - self._pruned_at >= PRUNE_INTERVAL:
            await self._prune()

    async def poll(self) -> None:
        """Reads finished and active runs side by side, and publishes whatever came of it."""
        level_was_complete = self._ledger.cursor.level_complete
        await asyncio.gather(self.finished.read(self._read_finished), self.active.read(self._read_active))
        self._polled = self._polled or bool(self.finished.up)
        await self.publish()
        if not level_was_complete:
            self._tell_level()

    async def publish(self) -> None:
        """Builds a snapshot of what is known now and hands it over."""
        now = self._clock()
        try:
            await self._reader.in_ledger(self._refresh, now)
        except LedgerError as fault:
            log.debug("The snapshot is made of what is in memory: %s", fault)
        snapshot, held = await self._reader.in_ledger(self._snapshot, now)
        await asyncio.to_thread(self._publish, snapshot)
        self._hold.show(held, self._clock())

    async def _read_version(self) -> None:
        try:
            async with asyncio.timeout(self._settings.source_timeout):
                self._prefect_version = await self._reader.api.version()
        except (ApiError, TimeoutError) as error:
            log.debug("The server's version is not known: %s", error)

    async def _read_finished(self) -> Reading:
        return await self._reader.walk_finished(self._settings.source_timeout / 2)

    async def _read_active(self) -> Reading:
        runs = await self._reader.read_active()
        self._active = summarise_active(runs)
        return Reading(len(runs))

    def _tell_level(self) -> None:
        cursor = self._ledger.cursor
        if cursor.level_complete:
            log.info(
                "The starting level is complete: %d finished runs; from now on every outcome counts",
                self.finished.records,
            )
        elif cursor.walk_before is not None:
            back_to = datetime.fromtimestamp(cursor.walk_before, UTC)
            log.info("Loading the starting level: %d runs, back to %s", self.finished.records, back_to.isoformat())

    async def _prune(self) -> None:
        try:
            await self._reader.in_ledger(self._forget)
        except LedgerError as fault:
            log.warning("Nothing was pruned: %s", fault)
        self._pruned_at = self._clock()

    def _forget(self) -> None:
        live = self._reader.catalog.live_pairs(self._ledger.names)
        keep, ttl = self._settings.lookback, self._settings.series_ttl
        self._ledger.prune(self._clock(), runs_kept=keep, series_ttl=ttl, live=live)
        self._reader.catalog.keep({key.pair for key in self._ledger.series})

    def _refresh(self, now: float) -> None:
        """Ends birth holds that are due, and renews the standings: of touched pairs, and of all pairs every hour."""
        due = self._hold.due(now)
        self._ledger.release(due, now)
        self._hold.forget(due)
        hour = int(now // HOUR)
        if hour != self._standings_hour:
            self._ledger.touched |= set(self._ledger.pairs)
        touched = set(self._ledger.touched)
        # A name that was given up by a rename may be taken again, by another flow with another past.
        kept = {pair: standing for pair, standing in self._standings.items() if pair in self._ledger.pairs}
        self._standings = kept | self._ledger.standings(touched, now)
        self._ledger.touched -= touched
        self._standings_hour = hour

    def _snapshot(self, now: float) -> tuple[Snapshot, set[SeriesKey]]:
        """The snapshot, and which of its series it shows at zero because of their birth hold."""
        catalog = self._reader.catalog
        live = catalog.live_pairs(self._ledger.names)
        complete = self._ledger.cursor.level_complete
        # A reading may take its whole time, and another one beside it too, before either is published.
        stale = STALE_AFTER_INTERVALS * self._settings.poll_interval + self._settings.source_timeout
        old_names = STALE_AFTER_INTERVALS * self._settings.inventory_interval + self._settings.source_timeout
        snapshot = Snapshot(
            taken_at=now,
            bounds=self._ledger.bounds,
            series=shown(self._ledger.series, level_complete=complete),
            standings={pair: one for pair, one in self._standings.items() if pair in live} if complete else {},
            active=self._active if _is_fresh(self.active, now, stale) else None,
            deployments=tuple(catalog.live_deployments(self._ledger.names).items())
            if _is_fresh(self.deployments, now, old_names)
            else None,
            about=self._self_report(),
            health=Health(tuple(self._not_ready())),
        )
        return snapshot, self._ledger.held & snapshot.series.keys()

    def _not_ready(self) -> list[str]:
        faults = []
        if not self._ledger.cursor.level_complete:
            faults.append(f"the starting level is being loaded ({self.finished.records} runs so far)")
        if not self._polled:
            faults.append(f"no poll has been completed yet ({self.finished.error or 'under way'})")
        if self._ledger.fault:
            faults.append(self._ledger.fault)
        return faults

    def _self_report(self) -> SelfReport:
        return SelfReport(
            version=__version__,
            prefect_version=self._prefect_version,
            api_up=_any_answered(self.finished, self.active),
            ledger_created_at=self._ledger.created_at,
            ledger_bytes=self._ledger.bytes_used(),
            sources=tuple(source.status() for source in self.sources),
            requests=dict(self._traffic.requests),
            throttled=self._traffic.throttled,
            folded=dict(self._ledger.folded),
        )


def _is_fresh(source: Source, now: float, limit: float) -> bool:
    return source.last_success is not None and now - source.last_success <= limit


def _any_answered(*sources: Source) -> bool | None:
    asked = [source.answered for source in sources if source.answered is not None]
    return any(asked) if asked else None
