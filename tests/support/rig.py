"""The exporter in the test's process, with polls triggered by the test: real API, real ledger, real exposition."""

import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from prefect_monitoring.config.loading import load_settings
from prefect_monitoring.ingest.flow_runs import Reader
from prefect_monitoring.ingest.sources import lookbacks, make_readers
from prefect_monitoring.ledger.opening import ledger_of
from prefect_monitoring.prefect_api.address import api_address
from prefect_monitoring.prefect_api.client import Traffic, open_http
from prefect_monitoring.runtime.poller import Poller, make_poller
from prefect_monitoring.snapshot.model import Snapshot
from prefect_monitoring.web.app import Published
from support.exposition import Samples, outcomes, parse
from support.ledgers import create_tables

SOURCE_TIMEOUT = 120.0  # seconds: a slow answer of a busy machine is no fault of the API


class Rig:
    """An exporter whose `poll`, `details` and `inventory` the test calls; `restart` opens its ledger again."""

    reader: Reader
    poller: Poller
    published: Published
    traffic: Traffic

    def __init__(self, api_url: str, ledger: Path, auth: str | None, options: dict[str, str]) -> None:
        self._api_url = api_url
        self._auth = auth
        self.ledger = ledger
        self.options = {
            "birth_hold": "0s",
            "source_timeout": f"{SOURCE_TIMEOUT:g}s",
            "max_requests_per_second": "1000",
            **options,
        }
        self._open = AsyncExitStack()
        self.clock: Callable[[], float] = time.time

    async def start(self) -> None:
        url = {PREFECT_API_URL: self._api_url}
        self._open.enter_context(
            temporary_settings(url | ({PREFECT_API_AUTH_STRING: self._auth} if self._auth else {}))
        )
        settings = load_settings({"ledger_url": create_tables(f"sqlite:///{self.ledger}"), **self.options}, {})
        self.traffic, self.published = Traffic(), Published(settings.metrics)
        http = await self._open.enter_async_context(open_http(self.traffic, settings.poll.max_requests_per_second))
        ledger = ledger_of(settings.ledger, settings.metrics, api_address(), lookbacks(settings.history))
        readers = make_readers(settings, ledger, http, lambda: self.clock())
        self.reader = readers.flow_runs
        self._open.callback(self.reader.close)
        self.poller = make_poller(readers, settings, self.traffic, self.published.take, lambda: self.clock())
        await self.poller.publish()

    async def stop(self) -> None:
        await self._open.aclose()
        self._open = AsyncExitStack()

    async def restart(self, **options: str) -> None:
        await self.stop()
        self.options |= options
        await self.start()

    async def poll(self, times: int = 1) -> None:
        for _ in range(times):
            await self.poller.poll()

    async def details(self, times: int = 1) -> None:
        """A poll that also reads task runs and log lines."""
        for _ in range(times):
            await self.poller.poll()
            await self.poller.poll_details()
            await self.poller.publish()

    async def inventory(self) -> None:
        """A reading of the inventory, and the audit."""
        await self.poller.take_inventory()
        await self.poller.audit()
        await self.poller.publish()

    @property
    def snapshot(self) -> Snapshot:
        assert self.published.latest is not None
        return self.published.latest[0]

    @property
    def text(self) -> str:
        assert self.published.latest is not None
        return self.published.latest[1].text.plain.decode()

    @property
    def samples(self) -> Samples:
        return parse(self.text)

    async def totals(self, flow_prefix: str) -> Counter[tuple[str, str, str]]:
        """The outcomes that the exporter has counted, after a poll that reads and one that ends the birth holds."""
        await self.poll(2)
        return outcomes(self.samples, flow_prefix=flow_prefix)


@asynccontextmanager
async def rig(api_url: str, directory: Path, *, auth: str | None = None, **options: Any) -> AsyncIterator[Rig]:
    """A started rig with its ledger in `directory`; options as in the YAML file."""
    running = Rig(api_url, directory / "ledger.db", auth, {name: str(value) for name, value in options.items()})
    await running.start()
    try:
        yield running
    finally:
        await running.stop()
