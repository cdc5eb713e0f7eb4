"""`prefect-monitoring serve`: everything wired together, from the first publication to a clean end."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

import uvicorn

from prefect_monitoring.analysis.failure_causes import CausePattern, cause_of, compile_pattern
from prefect_monitoring.catalog import Catalog, Filters
from prefect_monitoring.fold import DURATION, START_DELAY
from prefect_monitoring.ledger import Ledger, open_ledger
from prefect_monitoring.ledger_file import LedgerInUseError
from prefect_monitoring.metrics import refuse_unknown
from prefect_monitoring.poller import Poller
from prefect_monitoring.prefect_api import PrefectApi
from prefect_monitoring.prefect_http import Traffic, api_address, open_http
from prefect_monitoring.reader import Reader
from prefect_monitoring.server import Published, make_app
from prefect_monitoring.settings import Settings

log = logging.getLogger(__name__)

GRACE_SECONDS: Final = 2
LOCK_POLL_SECONDS: Final = 0.5


class ListenError(Exception):
    """The address to serve on cannot be had."""


async def serve(settings: Settings) -> None:
    """Polls and serves until SIGTERM or SIGINT.

    Raises SettingsError, NoApiUrlError, LedgerError or ListenError before anything is polled.
    """
    refuse_unknown(settings.metrics_off)
    address = api_address()
    listener = bind(settings.listen)
    published = Published(settings)
    config = uvicorn.Config(
        make_app(published, settings),
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    server = _Server(config)
    # Answering begins before the ledger is there: probes and scrapes are told to wait, and signals are heard.
    answering = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        ledger = await _open_when_free(settings, address, server)
        if ledger is not None:
            log.info("Watching %s, serving %s/metrics", address, _url(listener))
            await _watch(settings, ledger, published, answering)
    finally:
        server.should_exit = True
        await answering
    log.info("Stopped; the ledger is closed")


async def _watch(settings: Settings, ledger: Ledger, published: Published, until: asyncio.Task[None]) -> None:
    traffic = Traffic()
    async with open_http(traffic, settings.max_requests_per_second) as http:
        reader = make_reader(settings, ledger, PrefectApi(http))
        poller = Poller(reader, settings, traffic, published.publish)
        try:
            # What the ledger knows is served at once: a restart is no gap and no reset.
            await poller.publish()
            scheduler = poller.start()
            await asyncio.wait([until])
            # A poll that is dropped here is not a failure to tell.
            logging.getLogger("apscheduler").setLevel(logging.CRITICAL)
            scheduler.shutdown(wait=False)
        finally:
            await asyncio.to_thread(reader.close)


async def _open_when_free(settings: Settings, address: str, server: uvicorn.Server) -> Ledger | None:
    """The ledger, as soon as the process that may still have it lets go of it; None when told to stop before that."""
    deadline = time.monotonic() + settings.ledger_wait
    while not server.should_exit:
        try:
            return await asyncio.to_thread(ledger_of, settings, address)
        except LedgerInUseError as fault:
            if time.monotonic() >= deadline:
                raise
            log.debug("Waiting: %s", fault)
            await asyncio.sleep(LOCK_POLL_SECONDS)
    return None


def ledger_of(settings: Settings, address: str) -> Ledger:
    """The ledger that the settings name, for the API at `address`. Raises LedgerError."""
    return open_ledger(
        settings.ledger_url,
        address,
        bounds={DURATION: settings.duration_buckets, START_DELAY: settings.start_delay_buckets},
        lookback=settings.lookback,
        now=time.time(),
        moved_from=settings.moved_from,
    )


def make_reader(settings: Settings, ledger: Ledger, api: PrefectApi) -> Reader:
    own_causes = [CausePattern(rule.cause, compile_pattern(rule.pattern)) for rule in settings.failure_causes]
    catalog = Catalog(Filters(settings), settings.max_pairs, {key.pair for key in ledger.series})
    return Reader(api, ledger, catalog, partial(cause_of, extra=own_causes))


def bind(listen: str) -> socket.socket:
    """A listening socket on HOST:PORT. Raises ListenError."""
    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, int(port)), family=family)
    except OSError as error:
        raise ListenError(
            f"Cannot listen on {listen} ({error.strerror}): stop what uses it, or give another address with --listen"
        ) from error


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves the signals to us: uvicorn would raise them again when done, and the exit code would be theirs."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
