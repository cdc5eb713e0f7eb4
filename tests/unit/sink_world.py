"""The CloudWatch sink on a real ledger, with a manual clock and processes that crash."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from prefect_monitoring.config.settings import CloudWatchSettings
from prefect_monitoring.counting.cardinality import Catalog
from prefect_monitoring.ingest.flow_runs import Reader
from prefect_monitoring.ledger.ledger import Ledger
from prefect_monitoring.ledger.opening import open_ledger
from prefect_monitoring.model.changes import SeriesKey
from prefect_monitoring.model.counted_metrics import DEFAULT_BOUNDS, FAILURES
from prefect_monitoring.sinks.cloudwatch.select import Selection
from prefect_monitoring.sinks.cloudwatch.sink import CloudWatchSink
from support.ledgers import create_tables
from support.options import settings_with
from unit.fake_cloudwatch import FakeCloudWatch
from unit.fake_prefect import FakePrefect
from unit.ledger_values import NOW, PIPELINE, baseline_cursor, lookbacks_of, outcome
from unit.rig import API, DAY, NO_SYNC, pragma
from unit.snapshots import make_snapshot

MINUTE = 60.0
COUNTS = {"COMPLETED": "RunsCompleted", "FAILED": "RunsFailed", "CANCELLED": "RunsCancelled"}
STATUS_OF = replace(make_snapshot().run_stats[PIPELINE], last_outcomes={"completed": NOW})


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        for _ in count():
            if holds():
                return
            await asyncio.sleep(0.001)


@dataclass
class World:
    """A ledger, CloudWatch, and successive processes with the sink; the clock is manual."""

    folder: Path
    now: float = NOW
    runs: int = 0
    owed: dict[float, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))

    def __post_init__(self) -> None:
        self.cloudwatch = FakeCloudWatch(lambda: self.now)
        self.make_client: Callable[[], Any] = lambda: self.cloudwatch

    def ledger(self) -> Ledger:
        url = create_tables(f"sqlite:///{self.folder}/ledger.db")
        opened = open_ledger(url, API, bounds=DEFAULT_BOUNDS, lookbacks=lookbacks_of(30 * DAY), now=NOW)
        pragma(opened, NO_SYNC)
        return opened

    async def begin(self) -> None:
        """Starts a process; a new ledger still needs its baseline."""
        settings, fake, ledger = settings_with(), FakePrefect(), self.ledger()
        catalog = Catalog(settings.filters, settings.labels, ledger.series)
        self.reader = Reader(fake, ledger, catalog, lambda _message: "unknown", lambda: self.now)
        selection = Selection(CloudWatchSettings.model_validate({"cloudwatch_pipelines": ".*"}))
        self.sink = CloudWatchSink(self.reader, selection, "prod", lambda: self.make_client())
        await self.sink.begin()
        self.task = asyncio.create_task(self.sink.run())

    async def crash(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])
        self.reader.close()

    async def load_baseline(self) -> None:
        self.runs += 1
        await self.reader.in_ledger(
            self.reader.ledger.commit, outcome(self.runs), baseline_cursor(self.reader.ledger), self.now
        )

    async def end(self, state_type: str) -> None:
        """Counts a run that ends now."""
        self.runs += 1
        changes = outcome(self.runs, state_type=state_type, at=self.now, seconds=float(self.runs))
        if state_type == "FAILED":
            changes.count(SeriesKey(FAILURES, PIPELINE, "unknown"), self.now)
        await self.reader.in_ledger(self.reader.ledger.commit, changes, None, self.now)
        self.owed[self.now // MINUTE * MINUTE][COUNTS[state_type]] += 1

    async def pass_time(self, seconds: float = MINUTE) -> None:
        """Publishes the next snapshot after the given time."""
        self.now += seconds
        snapshot = replace(make_snapshot(), taken_at=self.now, run_stats={PIPELINE: STATUS_OF})
        await self.sink.take(snapshot)

    async def settle(self) -> None:
        """Waits until nothing is owed any more."""
        await until(lambda: self.sink.status.waiting_since is None and self.sink._is_idle.is_set())

    def pushed(self, *names: str) -> Counter[str]:
        """How often values of these metrics were accepted, by name."""
        totals: Counter[str] = Counter()
        for datum in (datum for request in self.cloudwatch.taken for datum in request):
            if datum.name in names:
                totals[datum.name] += int(datum.times)
        return totals

    def times_pushed(self) -> dict[float, int]:
        """How often each minute with outcomes was pushed, each time completely."""
        pushed: defaultdict[float, Counter[str]] = defaultdict(Counter)
        for datum in (datum for request in self.cloudwatch.taken for datum in request if datum.name in COUNTS.values()):
            pushed[datum.minute][datum.name] += int(datum.times)
        times = {
            minute: max(pushed[minute].values(), default=0) // max(owed.values()) for minute, owed in self.owed.items()
        }
        assert {minute: dict(counts) for minute, counts in pushed.items()} == {
            minute: {name: count * times[minute] for name, count in owed.items()} for minute, owed in self.owed.items()
        }
        return times

    def rows(self) -> int:
        with self.reader.ledger.transaction() as connection:
            query = "SELECT count(*) FROM prefect_monitoring_sinks WHERE key NOT LIKE 'state/%'"
            return int(connection.execute(sa.text(query)).scalar_one())
