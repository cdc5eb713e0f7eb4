"""An exporter on the model of the server, killed at any point of a poll."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

from prefect_monitoring.ingest.sources import Readers
from prefect_monitoring.ledger.ledger import Ledger
from prefect_monitoring.ledger.opening import open_ledger
from prefect_monitoring.model.changes import SeriesKey
from prefect_monitoring.model.counted_metrics import DEFAULT_BOUNDS
from prefect_monitoring.model.series import Series
from prefect_monitoring.prefect_api.client import Traffic
from prefect_monitoring.runtime.poller import Poller, make_poller
from prefect_monitoring.snapshot.model import Snapshot
from support.ledgers import create_tables
from support.options import settings_with
from unit.fake_prefect import FakePrefect
from unit.ledger_values import lookbacks_of
from unit.rig import API, DAY, NO_SYNC, pragma, readers_of

SETTINGS = settings_with(birth_hold="70s", ledger_url="sqlite:////nowhere/ledger.db")


class SimulatedCrash(BaseException):
    """The process dies here."""


CRASHES = ("between pages", "in a transaction", "before a commit", "after a commit")


@dataclass
class World:
    """A server, a ledger file, and the process that reads the server into the ledger."""

    path: Path
    fake: FakePrefect
    ledger: Ledger = field(init=False)
    poller: Poller = field(init=False)
    readers: Readers = field(init=False)
    snapshots: list[Snapshot] = field(default_factory=list)
    upcoming: list[tuple[int, Callable[[], None]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.begin()
        self.fake.before_request = self._before_request

    def begin(self) -> None:
        self.ledger = open_ledger(
            create_tables(f"sqlite:///{self.path}"),
            API,
            bounds=DEFAULT_BOUNDS,
            lookbacks=lookbacks_of(30 * DAY),
            now=self.fake.now,
        )
        pragma(self.ledger, NO_SYNC)
        self.readers = readers_of(self.fake, self.ledger, SETTINGS)
        self.poller = make_poller(self.readers, SETTINGS, Traffic(), self.publish, self.fake.clock)

    async def publish(self, snapshot: Snapshot) -> None:
        self.snapshots.append(snapshot)

    def end(self) -> None:
        self.readers.flow_runs.close()

    async def restart(self) -> None:
        self.end()
        self.begin()
        await self.poller.publish()

    def _before_request(self, _endpoint: str) -> None:
        due = [change for left, change in self.upcoming if left <= 0]
        self.upcoming = [(left - 1, change) for left, change in self.upcoming if left > 0]
        for change in due:
            change()

    async def poll(self) -> None:
        await self.poller.poll()

    async def inventory(self) -> None:
        await self.poller.take_inventory()
        await self.poller.audit()

    async def read_everything(self) -> None:
        await self.poll()
        await self.inventory()

    async def sync(self) -> None:
        """Reads everything there is: the audit lags behind the watermark, so the clock moves on first."""
        self.upcoming.clear()
        self.fake.broken.clear()
        for _ in range(2):
            # A newer end moves the watermark on, so that the audit finds earlier manual changes.
            self.fake.now += 400
            newest = self.fake.schedule(next(iter(self.fake.flow_names)))
            self.fake.start(newest)
            self.fake.finish(newest)
            self.fake.now += 400
            await self.read_everything()
        await self.poll()

    def leave_on_disk(self, disk: Path) -> None:
        """Copies the files as kill -9 would leave them, before this process rolls back anything."""
        for suffix in ("-wal", ""):
            if (source := self.path.with_name(self.path.name + suffix)).exists():
                shutil.copyfile(source, disk.with_name(disk.name + suffix))

    def die_at(self, kind: str, die: Callable[..., None]) -> None:
        engine = self.ledger._database.engine
        if kind == "between pages":
            self.fake.before_request = die
        elif kind == "in a transaction":
            sa.event.listen(engine, "after_cursor_execute", die)
        elif kind == "before a commit":
            sa.event.listen(engine, "commit", die)
        else:
            remember = self.ledger.remember_series

            def remember_or_die(moved: dict[SeriesKey, Series]) -> None:
                die()
                remember(moved)

            self.ledger.remember_series = remember_or_die  # type: ignore[method-assign,assignment]

    async def poll_and_crash(self, kind: str, countdown: int) -> None:
        """Runs a poll in which the process dies, if it gets that far; then starts the next process."""
        disk = self.path.with_name(f"{self.path.stem}x.db")

        def die(*event: object) -> None:
            nonlocal countdown
            countdown -= 1
            if countdown >= 0 or "BEGIN IMMEDIATE" in event:
                return
            if not disk.exists():
                self.leave_on_disk(disk)
            raise SimulatedCrash

        self.die_at(kind, die)
        with contextlib.suppress(SimulatedCrash):
            await self.read_everything()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.fake.before_request = self._before_request
        self.end()
        if disk.exists():
            self.path = disk
        self.begin()
        await self.poller.publish()
