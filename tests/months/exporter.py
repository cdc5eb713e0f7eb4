"""The exporter's code on the model of the server: processes that start, are scraped, and end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from months.server import MonthServer
from months.watch import Watch
from prefect_monitoring.config.settings import Settings
from prefect_monitoring.ingest.sources import lookbacks
from prefect_monitoring.ledger.opening import open_ledger
from prefect_monitoring.metrics import CATALOGUE
from prefect_monitoring.metrics.family import Metric
from prefect_monitoring.model.counted_metrics import DEFAULT_BOUNDS
from prefect_monitoring.prefect_api.client import Traffic
from prefect_monitoring.runtime.poller import Poller, make_poller
from prefect_monitoring.snapshot.model import Snapshot
from prefect_monitoring.web.exposition import render
from unit.rig import API, readers_of


def metrics_named(names: Collection[str]) -> tuple[Metric, ...]:
    """The metrics of the catalogue that have these names; a counter or a gauge has one."""
    return tuple(metric for metric in CATALOGUE if metric.name in names)


class OneThread(asyncio.SelectorEventLoop):
    """An event loop that runs the work of threads immediately, because nothing here blocks."""

    def run_in_executor(self, _executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        done = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 it is raised where the result is awaited
            done.set_exception(error)
        return done


class Page:
    """The text of a scrape. A family with unchanged samples is not rendered again."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics
        self._known: dict[str, tuple[list[Any], list[str]]] = {}

    def lines(self, snapshot: Snapshot) -> list[str]:
        found: list[str] = []
        for metric in self._metrics:
            samples = metric.family(snapshot).samples
            known = self._known.get(metric.name)
            if known is None or known[0] != samples:
                text = render(snapshot, (metric,)).text.plain.decode()
                known = samples, [line for line in text.splitlines() if line.startswith(metric.name)]
                self._known[metric.name] = known
            found += known[1]
        return found


@dataclass
class Exporter:
    """An exporter, with the ledger that outlives its processes."""

    server: MonthServer
    ledger: Path
    settings: Settings
    metrics: Sequence[Metric]
    published: list[Snapshot] = field(default_factory=list)
    poller: Poller | None = None

    def start(self) -> None:
        self.page = Page(self.metrics)
        ledger = open_ledger(
            f"sqlite:///{self.ledger}",
            API,
            bounds=DEFAULT_BOUNDS,
            lookbacks=lookbacks(self.settings.history),
            now=self.server.now,
        )
        self._readers = readers_of(self.server, ledger, self.settings)
        self.poller = make_poller(self._readers, self.settings, Traffic(), self._take, self.server.clock)

    async def _take(self, snapshot: Snapshot) -> None:
        self.published.append(snapshot)

    def stop(self) -> None:
        if self.poller is not None:
            self._readers.flow_runs.close()
            self.poller = None

    async def first_scrape(self) -> list[str]:
        """A process publishes the contents of its ledger before its first request to Prefect."""
        self._seen, self._polled_at, self._read_at = -1, 0.0, 0.0
        return await self._published(self._poller().publish())

    async def scrape(self, watch: Watch) -> list[str]:
        """The lines of a scrape: after a poll, unless nothing has happened since the last one."""
        poller, now = self._poller(), self.server.now
        if self.server.changes == self._seen and now - self._polled_at < watch.idle:
            return self._lines
        if now - self._read_at >= watch.background:
            await poller.take_inventory()
            await poller.poll_details()
            await poller.audit()
            self._read_at = now
        self._seen, self._polled_at = self.server.changes, now
        return await self._published(poller.poll())

    def _poller(self) -> Poller:
        assert self.poller is not None
        return self.poller

    async def _published(self, publication: Awaitable[None]) -> list[str]:
        await publication
        snapshot = self.published[-1]
        self.published.clear()
        self._lines = self.page.lines(snapshot)
        return self._lines
