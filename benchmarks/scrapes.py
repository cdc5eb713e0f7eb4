"""What a scrape costs, and what a thousand polls do to memory."""

from __future__ import annotations

import gzip
import http.client
import re
import statistics
import time
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from benchmarks.baseline import LEDGER
from benchmarks.measures import Measure
from benchmarks.subject import Running, Subject, exporter_on
from support.processes import wait_until
from support.proxy import FaultProxy

# As Prometheus asks.
HEADERS: Final = {
    "Accept": "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1",
    "Accept-Encoding": "gzip",
}
MAX_MEDIAN_MS: Final = 10
MAX_P99_MS: Final = 30
WARM_POLLS: Final = 100
MAX_GROWTH: Final = 5
BACK_TO_BACK: Final = ("--poll-interval", "50ms", "--inventory-interval", "10s")
_POLLS: Final = re.compile(
    r'^prefect_exporter_source_duration_seconds_count\{source="finished_flow_runs"\} (\S+)', re.MULTILINE
)
NEVER: Final = ("--poll-interval", "1h", "--inventory-interval", "1h")


@dataclass(frozen=True, slots=True)
class Scrapes:
    milliseconds: tuple[float, ...]
    body: bytes

    @property
    def median(self) -> float:
        return statistics.median(self.milliseconds)

    @property
    def p99(self) -> float:
        return statistics.quantiles(self.milliseconds, n=100)[98]


def measure_idle_scrapes(subject: Subject, count: int) -> list[Measure]:
    """Between two polls, with a proxy that counts what reaches Prefect meanwhile; the ledger is then the proxy's."""
    moved = ("--moved-from", subject.server.url)
    with (
        FaultProxy(subject.server.url) as proxy,
        exporter_on(subject, LEDGER, *NEVER, *moved, url=proxy.url) as running,
    ):
        running.wait_ready()
        _settle(proxy)
        before = len(proxy.requests)
        scrapes = scrape(running, count)
        looks = scrape(running, count, path="/")
        caused = len(proxy.requests) - before
    text = gzip.decompress(scrapes.body).decode()
    series = sum(1 for line in text.splitlines() if line and not line.startswith("#"))
    return [
        Measure("scrape: series", series),
        Measure("scrape: size", len(text) / 2**20, "MiB"),
        Measure("scrape: size, gzip", len(scrapes.body) / 2**20, "MiB"),
        Measure("scrape: idle, median", scrapes.median, "ms", at_most=MAX_MEDIAN_MS),
        Measure("scrape: idle, p99", scrapes.p99, "ms", at_most=MAX_P99_MS),
        Measure("scrape: requests to Prefect", caused, at_most=0, binding=True),
        Measure("status page: size, gzip", len(looks.body) / 2**20, "MiB"),
        Measure("status page: idle, first look", looks.milliseconds[0], "ms"),
        Measure("status page: idle, median", looks.median, "ms", at_most=MAX_MEDIAN_MS),
    ]


def measure_busy(subject: Subject, scrapes_count: int, polls: int) -> list[Measure]:
    """While polls run back to back: latency of scrapes, then memory after WARM_POLLS and after `polls` polls."""
    with exporter_on(subject, LEDGER, *BACK_TO_BACK) as running:
        running.wait_ready()
        scrapes = scrape(running, scrapes_count, pause=0.02)
        _wait_polls(running, WARM_POLLS)
        warm, begun, cpu = running.rss(), time.monotonic(), running.cpu()
        _wait_polls(running, polls)
        last, seconds, cpu = running.rss(), time.monotonic() - begun, running.cpu() - cpu
    return [
        Measure("scrape: polls back to back, median", scrapes.median, "ms", at_most=MAX_MEDIAN_MS),
        Measure("scrape: polls back to back, p99", scrapes.p99, "ms", at_most=MAX_P99_MS),
        Measure("idle poll: seconds, back to back", seconds / (polls - WARM_POLLS), "s"),
        Measure("idle poll: CPU, inventory every 10 s included", cpu / (polls - WARM_POLLS), "s"),
        Measure(f"memory (RSS) after {WARM_POLLS} polls", warm, "MiB"),
        Measure(f"memory (RSS) after {polls} polls", last, "MiB"),
        Measure("memory: growth between these", last - warm, "MiB", at_most=MAX_GROWTH),
    ]


def scrape(running: Running, count: int, *, pause: float = 0.0, path: str = "/metrics") -> Scrapes:
    """Over one kept-alive connection, as Prometheus does; unpacking the body is not the exporter's time."""
    parts = urlsplit(running.exporter.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    milliseconds, body = [], b""
    for _ in range(count):
        begun = time.perf_counter()
        connection.request("GET", path, headers=HEADERS)
        response = connection.getresponse()
        body = response.read()
        milliseconds.append((time.perf_counter() - begun) * 1000)
        if response.status != http.client.OK or response.headers["Content-Encoding"] != "gzip":
            raise RuntimeError(f"{path} answered {response.status}, {response.headers['Content-Encoding']}")
        time.sleep(pause)
    connection.close()
    return Scrapes(tuple(milliseconds), body)


def _settle(proxy: FaultProxy, quiet: float = 2.0) -> None:
    """Until the first poll and inventory pass are over."""
    wait_until(
        lambda: (
            proxy.requests
            and all(seen.status for seen in proxy.requests)
            and time.monotonic() - proxy.requests[-1].at > quiet
        ),
        120,
        "an exporter with nothing left to ask",
    )


def _polls(running: Running) -> int:
    """How many there have been. Looked up in the text: to parse all of it would keep a core busy."""
    found = _POLLS.search(running.exporter.text)
    return int(float(found[1])) if found else 0


def _wait_polls(running: Running, polls: int) -> None:
    wait_until(lambda: _polls(running) >= polls, 3600, f"{polls} polls", every=1.0)
