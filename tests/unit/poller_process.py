"""One exporter process on the model of the server."""

from __future__ import annotations

from dataclasses import dataclass, field

from prefect_monitoring.config.settings import Settings
from prefect_monitoring.ingest.sources import Readers
from prefect_monitoring.ledger.ledger import Ledger
from prefect_monitoring.model.changes import SeriesKey
from prefect_monitoring.model.counted_metrics import OUTCOMES
from prefect_monitoring.model.records import Pipeline
from prefect_monitoring.model.series import Series
from prefect_monitoring.prefect_api.client import Traffic
from prefect_monitoring.runtime.poller import make_poller
from prefect_monitoring.snapshot.model import Snapshot
from unit.fake_prefect import FakePrefect

PIPELINE = Pipeline("etl", "daily")
FAILED = SeriesKey(OUTCOMES, PIPELINE, "failed")


@dataclass
class Process:
    """One process of the exporter, up to what it publishes."""

    fake: FakePrefect
    readers: Readers
    settings: Settings
    published: list[Snapshot] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.poller = make_poller(self.readers, self.settings, Traffic(), self.publish, self.fake.clock)

    async def publish(self, snapshot: Snapshot) -> None:
        self.published.append(snapshot)

    @property
    def ledger(self) -> Ledger:
        return self.readers.flow_runs.ledger

    @property
    def last(self) -> Snapshot:
        return self.published[-1]

    async def poll(self, after: float = 15.0) -> Snapshot:
        self.fake.now += after
        await self.poller.poll()
        return self.last

    @property
    def is_ready(self) -> bool:
        return bool(self.published) and not self.last.health.not_ready

    @property
    def series(self) -> dict[SeriesKey, Series]:
        return {key: series for rows in self.last.series.values() for key, series in rows.items()}

    async def inventory(self) -> None:
        await self.poller.take_inventory()
        await self.poller.audit()

    def outcome(self) -> float | None:
        series = self.series.get(FAILED)
        return series.value if series is not None else None
