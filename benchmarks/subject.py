"""What is measured: an exporter process on a seeded server, seen from outside."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import httpx
import orjson
from prefect.settings import PREFECT_API_URL, temporary_settings

from support.exporter import Exporter, run_exporter
from support.memory import rss
from support.prefect_server import PrefectServer, env_for
from support.processes import wait_until

RECORDER: Final = Path(__file__).with_name("recording_exporter.py")
UNLIMITED: Final = 1e6
PAGE: Final = 200
READY_SECONDS: Final = 1800
# The defaults of the product, but for the rate limit: it would be what is measured.
OPTIONS: Final = (
    "--poll-interval",
    "15s",
    "--inventory-interval",
    "60s",
    "--max-requests-per-second",
    f"{UNLIMITED:g}",
)


@dataclass(frozen=True, slots=True)
class Call:
    """A request that an exporter made. Times are of the monotonic clock."""

    endpoint: str
    kwargs: Mapping[str, Any]
    failed: bool
    rows: int | None
    begun: float
    ended: float

    @property
    def is_page_of_ends(self) -> bool:
        """Whether it read finished runs, and not those that are active or in particular demand."""
        return (self.kwargs.get("json") or {}).get("sort") == "END_TIME_DESC"


@dataclass(frozen=True, slots=True)
class Subject:
    """A seeded server, and a directory for what exporters leave behind."""

    server: PrefectServer
    directory: Path
    active: int


@dataclass(frozen=True, slots=True)
class Running:
    exporter: Exporter
    record: Path

    def calls(self) -> list[Call]:
        lines = self.record.read_bytes().splitlines() if self.record.exists() else []
        return [Call(**orjson.loads(line)) for line in lines]

    def counting_speed(self, source: str) -> float:
        """Records by CPU second of the ledger's thread, in fold and commit, over all that was counted so far."""
        lines = [orjson.loads(line) for line in self.record.with_suffix(".counted").read_bytes().splitlines()]
        mine = [line for line in lines if line["source"] == source]
        return float(sum(line["records"] for line in mine) / sum(line["cpu"] for line in mine))

    def wait_ready(self) -> float:
        """When it became ready, on the monotonic clock."""

        def ready() -> bool:
            if not self.exporter.process.running:
                raise RuntimeError(f"the exporter has ended:\n{self.exporter.process.output()[-4000:]}")
            return self.exporter.get("/-/ready").is_success

        wait_until(ready, READY_SECONDS, "a ready exporter", every=0.02, ignore=(httpx.HTTPError,))
        return time.monotonic()

    def rss(self, field: Literal["VmRSS", "VmHWM"] = "VmRSS") -> float:
        """Resident memory in MiB; VmHWM is the most it ever was."""
        return rss(self.exporter.process.pid, field)

    def cpu(self) -> float:
        """CPU seconds since it began."""
        return cpu_of(self.exporter.process.pid)


def cpu_of(pid: int) -> float:
    """CPU seconds of a process since it began, without its children; to the nanosecond, where /proc has hundredths."""
    clock = ctypes.c_int()
    if error := ctypes.CDLL(None).clock_getcpuclockid(pid, ctypes.byref(clock)):
        raise OSError(error, os.strerror(error))
    return time.clock_gettime(clock.value)


@contextmanager
def exporter_on(subject: Subject, ledger: str, *options: str, url: str | None = None) -> Iterator[Running]:
    """An exporter with the ledger directory `ledger`: a new name is a first start. `url`: a proxy before the server."""
    directory = subject.directory / ledger
    directory.mkdir(exist_ok=True)
    record = directory / f"calls-{time.monotonic_ns()}.jsonl"
    env = env_for(subject.server, url=url)
    exporter = run_exporter(env, directory, *OPTIONS, *options, script=(str(RECORDER), str(record)))
    try:
        yield Running(exporter, record)
    finally:
        exporter.process.stop()


@contextmanager
def prefect_at(url: str) -> Iterator[None]:
    with temporary_settings({PREFECT_API_URL: url}):
        yield
