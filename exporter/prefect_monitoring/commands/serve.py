"""`prefect-monitoring serve`: wires everything together, from the first snapshot to a clean end."""

from __future__ import annotations

import asyncio
import gc
import logging
import re
import signal
import socket
import ssl
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

import uvicorn
from starlette.applications import Starlette
from tenacity import AsyncRetrying, before_sleep_log, retry_if_exception_type, stop_after_delay, wait_fixed

from prefect_monitoring.automations.planner import Planner
from prefect_monitoring.automations.running import mode_of, open_controller
from prefect_monitoring.commands.listening import bind
from prefect_monitoring.config.settings import Settings, WebSettings
from prefect_monitoring.ingest.sources import lookbacks, make_readers
from prefect_monitoring.ledger.errors import LedgerError, LedgerInUseError
from prefect_monitoring.ledger.ledger import Ledger
from prefect_monitoring.ledger.opening import ledger_of
from prefect_monitoring.metrics import metrics_of
from prefect_monitoring.prefect_api.address import api_address
from prefect_monitoring.prefect_api.client import Traffic, open_http
from prefect_monitoring.report.sender import checked_schedule, open_sender
from prefect_monitoring.runtime.poller import Poller, make_poller
from prefect_monitoring.runtime.publisher import Publisher
from prefect_monitoring.runtime.scheduler import Job
from prefect_monitoring.sinks.running import check_sinks, open_sinks
from prefect_monitoring.web import tls
from prefect_monitoring.web.app import Published, make_app
from prefect_monitoring.web.auth import IN_CLEAR, travel_in_clear
from prefect_monitoring.web.runbooks import PATH as RUNBOOKS

log = logging.getLogger(__name__)

GRACE_SECONDS: Final = 2
LOCK_POLL_SECONDS: Final = 0.5
SWITCH_SECONDS: Final = 0.0005
GC_THRESHOLDS: Final = (50_000, 20, 100)


async def serve(settings: Settings) -> None:
    """Polls and serves until SIGTERM or SIGINT.

    Raises SettingsError, TlsError, NoApiUrlError, LedgerError or ListenError before anything is polled.
    """
    metrics_of(settings.metrics)
    check_sinks(settings)
    checked_schedule(settings.report)
    _favour_scrapes()
    address = api_address()
    tls.check_pair(settings.web)
    listener = bind(settings.web.listen)
    url = url_of(listener, settings.web)
    settings = with_runbooks(settings, url)
    published = Published(settings.metrics)
    server = make_server(make_app(published, settings.web, settings.poll), settings.web)
    # The server starts before the ledger is open: probes are answered, scrapes get 503, and signals are handled.
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    renewing = asyncio.create_task(tls.keep_current(server.config.ssl, settings.web))
    try:
        ledger = await _open_when_free(settings, address, server)
        if ledger is not None:
            log.info("Watching %s, serving %s/metrics", address, url)
            if travel_in_clear(settings.web):
                log.warning(IN_CLEAR)
            await _watch(settings, ledger, published, serving)
    finally:
        server.should_exit = True
        renewing.cancel()
        await serving
    log.info("Stopped; the ledger is closed")


def _favour_scrapes() -> None:
    """Keeps a scrape from waiting for a poll: for its turn among busy threads, or for a collection of all objects.

    A poll makes some 100,000 short-lived objects beside the ledger's long-lived ones, and few cycles. The latencies
    of scrapes during polls, with these values or others: make bench ARGS="--parts polls scrapes".
    """
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


async def _watch(settings: Settings, ledger: Ledger, published: Published, until: asyncio.Task[None]) -> None:
    traffic = Traffic()
    async with open_http(traffic, settings.poll.max_requests_per_second) as http:
        readers = make_readers(settings, ledger, http)
        publisher = Publisher()
        publisher.subscribe("web", published.take, awaited=True)
        planner = Planner(ledger, mode_of(settings.act))
        try:
            async with open_controller(settings.act, settings.poll, readers.flow_runs, planner, traffic) as controller:
                if controller is not None:
                    log.warning("Acting on Prefect" if planner.mode.act else "A dry run: nothing is done to Prefect")
                    publisher.subscribe("controller", controller.act)
                async with open_sinks(settings, readers.flow_runs) as pushing:
                    for sink in pushing:
                        publisher.subscribe(sink.status.name, sink.take)
                    sender = open_sender(settings, readers.flow_runs)
                    sinks = (*pushing, *((sender,) if sender is not None else ()))
                    poller = make_poller(
                        readers,
                        settings,
                        traffic,
                        publisher.publish,
                        plan=planner.plan,
                        sinks=lambda: tuple(sink.status for sink in sinks),
                    )
                    await _poll(poller, publisher, until, [sender.job()] if sender is not None else [])
        finally:
            await asyncio.to_thread(readers.flow_runs.close)


async def _poll(poller: Poller, publisher: Publisher, until: asyncio.Task[None], jobs: Iterable[Job]) -> None:
    try:
        # Serves the ledger's content at once, so that a restart causes no gap and no reset.
        await poller.publish()
        scheduler = poller.start(jobs)
        await asyncio.wait([until])
        await scheduler.stop()
    finally:
        await publisher.stop()


async def _open_when_free(settings: Settings, address: str, server: uvicorn.Server) -> Ledger | None:
    """The ledger, as soon as the process that may still have it releases it; None if asked to stop before that.

    Raises LedgerInUseError after `ledger_wait` seconds.
    """

    async def opened() -> Ledger | None:
        return None if server.should_exit else await asyncio.to_thread(_open, settings, address)

    tries = AsyncRetrying(
        retry=retry_if_exception_type(LedgerInUseError),
        stop=stop_after_delay(settings.ledger.ledger_wait),
        wait=wait_fixed(LOCK_POLL_SECONDS),
        before_sleep=before_sleep_log(log, logging.DEBUG),
        reraise=True,
    )
    return await tries(opened)


def _open(settings: Settings, address: str) -> Ledger:
    ledger = ledger_of(settings.ledger, settings.metrics, address, lookbacks(settings.history))
    try:
        ledger.begin_serving()
    except LedgerError:
        ledger.close()
        raise
    return ledger


def make_server(app: Starlette, web: WebSettings) -> uvicorn.Server:
    """A server of `app` that leaves signals to us."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=GRACE_SECONDS,
        ssl_certfile=web.tls_cert or None,
        ssl_keyfile=web.tls_key or None,
    )
    config.load()
    if config.ssl is not None:
        config.ssl.minimum_version = ssl.TLSVersion.TLSv1_2
    return _Server(config)


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves the signals to us: uvicorn would raise them again when done, and change the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield


def with_runbooks(settings: Settings, url: str) -> Settings:
    """`settings` with an address of the runbooks: this process' own pages (`url`), unless they name another."""
    if settings.links.runbook_url:
        return settings
    own = settings.links.model_copy(update={"runbook_url": f"{_as_seen_from_outside(url)}{RUNBOOKS}"})
    return settings.model_copy(update={"links": own})


def _as_seen_from_outside(url: str) -> str:
    """`url` with the machine's name, as Prometheus has it, if the process listens on all addresses."""
    return re.sub(r"^(https?://)(?:0\.0\.0\.0|\[::\])(?=:)", rf"\g<1>{socket.gethostname()}", url)


def url_of(listener: socket.socket, settings: WebSettings) -> str:
    scheme = "https" if settings.tls_cert else "http"
    host, port = listener.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
