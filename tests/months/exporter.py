"""The exporter's own code over the model of the server: a process that starts, is scraped, and ends."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from months.server import MonthServer
from months.watch import Watch
from prefect_monitoring.automations.controller import Controller
from prefect_monitoring.automations.planner import Planner
from prefect_monitoring.automations.running import mode_of
from prefect_monitoring.automations.world import World
from prefect_monitoring.config.settings import Settings
from prefect_monitoring.ingest.sources import lookbacks
from prefect_monitoring.ledger.opening import open_ledger
from prefect_monitoring.metrics import CATALOGUE
from prefect_monitoring.metrics.family import Metric
from prefect_monitoring.model.counted_metrics import DEFAULT_BOUNDS
from prefect_monitoring.model.sink_status import SinkStatus
from prefect_monitoring.prefect_api.client import Traffic
from prefect_monitoring.runtime.poller import Poller, make_poller
from prefect_monitoring.snapshot.model import Snapshot
from prefect_monitoring.web.exposition import render
from unit.rig import API, readers_of

PARTS: Final = ("_sum", "_count", "_bucket")
_NAME: Final = re.compile(r"[{ ]")


def metrics_named(names: frozenset[str]) -> tuple[Metric, ...]:
    """The metrics of the catalogue that have series of these names; a histogram's have a suffix."""
    return tuple(one for one in CATALOGUE if not names.isdisjoint({one.name, *(one.name + end for end in PARTS)}))


class OneThread(asyncio.SelectorEventLoop):
    """A loop that does a thread's work at once: nothing here waits for anything but itself."""

    def run_in_executor(  # type: ignore[override] # nobody passes an executor by name
        self, _executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        done = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 it is raised where the result is awaited
            done.set_exception(error)
        return done


class Page:
    """The text of a scrape. A family whose samples are those of the scrape before is not rendered again."""

    def __init__(self, names: frozenset[str]) -> None:
        self._metrics = metrics_named(names)
        self._names = names
        self._known: dict[str, tuple[list[Any], list[str]]] = {}

    def lines(self, snapshot: Snapshot) -> list[str]:
        found: list[str] = []
        for metric in self._metrics:
            samples = metric.family(snapshot).samples
            known = self._known.get(metric.name)
            if known is None or known[0] != samples:
                text = render(snapshot, (metric,)).text.plain.decode()
                known = samples, [line for line in text.splitlines() if _NAME.split(line, 1)[0] in self._names]
                self._known[metric.name] = known
            found += known[1]
        return found


@dataclass
class Exporter:
    """One exporter, with the ledger that outlives its processes."""

    server: MonthServer
    ledger: Path
    settings: Settings
    metrics: frozenset[str]
    sinks: Callable[[], tuple[SinkStatus, ...]] = tuple
    published: list[Snapshot] = field(default_factory=list)
    poller: Poller | None = None
    controller: Controller | None = None

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
        planner = Planner(ledger, mode_of(self.settings.act))
        others = planner.plan, self.sinks
        self.poller = make_poller(self._readers, self.settings, Traffic(), self._take, self.server.clock, *others)
        if planner.mode.act:
            prefect = self.server, self.server.inventory, self.server.actions, self.server.events
            world = World(*prefect)  # type: ignore[arg-type] # they answer what the API's clients answer
            self.controller = Controller(self._readers.flow_runs, planner, world, self.server.clock)

    async def _take(self, snapshot: Snapshot) -> None:
        self.published.append(snapshot)

    def stop(self) -> None:
        if self.poller is not None:
            self._readers.flow_runs.close()
            self.poller = self.controller = None

    async def first_scrape(self) -> list[str]:
        """A process publishes what its ledger knows before it asks Prefect anything."""
        self._seen, self._polled_at, self._read_at = (-1, False), 0.0, 0.0
        return await self._published(self._poller().publish())

    async def scrape(self, watch: Watch) -> list[str]:
        """What a scrape gets: of this moment, unless nothing has happened since the last poll."""
        poller, now = self._poller(), self.server.now
        state = self.server.changes, self.server.is_cut_off
        if state == self._seen and now - self._polled_at < watch.idle and not self.server.has_beats:
            return self._lines
        if now - self._read_at >= watch.background:
            await poller.take_inventory()
            await poller.poll_details()
            await poller.audit()
            self._read_at = now
        self._seen, self._polled_at = state, now
        return await self.poll()

    async def poll(self) -> list[str]:
        """A poll, and the actions that it leads to; what a scrape would get."""
        await self._published(self._poller().poll())
        if self.controller is not None:
            await self.controller.act(self._last)
        return self._lines

    def _poller(self) -> Poller:
        assert self.poller is not None
        return self.poller

    async def _published(self, publication: Awaitable[None]) -> list[str]:
        await publication
        self._last = self.published[-1]
        self.published.clear()
        self._lines = self.page.lines(self._last)
        return self._lines
