"""The exporter as users run it: a process of its own."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from support.exposition import Samples, parse
from support.ports import free_port
from support.processes import Process, start, wait_until

START_SECONDS = 60
FAST = ("--poll-interval", "1s", "--inventory-interval", "2s", "--ledger-wait", "0s")


@dataclass
class Exporter:
    url: str
    process: Process

    def get(self, path: str, **headers: str) -> httpx.Response:
        return httpx.get(f"{self.url}{path}", headers=headers, timeout=10, trust_env=False)

    @property
    def text(self) -> str:
        return self.get("/metrics").raise_for_status().text

    @property
    def samples(self) -> Samples:
        return parse(self.text)

    def wait_ready(self, seconds: float = START_SECONDS) -> None:
        wait_until(lambda: self.get("/-/ready").is_success, seconds, "a ready exporter", ignore=(httpx.HTTPError,))

    def wait_serving(self, seconds: float = START_SECONDS) -> None:
        """Until it has numbers to show; it is healthy before that."""
        wait_until(lambda: self.get("/metrics").is_success, seconds, "a serving exporter", ignore=(httpx.HTTPError,))


def run_exporter(
    env: Mapping[str, str], directory: Path, *options: str, script: Sequence[str] = ("-m", "prefect_monitoring")
) -> Exporter:
    """Starts `serve` with a ledger in `directory`; it may end at once, which the caller sees in `process`."""
    port = free_port()
    command = [sys.executable, *script, "serve", "--listen", f"127.0.0.1:{port}", *FAST]
    command += ["--ledger-url", f"sqlite:///{directory / 'ledger.db'}", *options]
    return Exporter(f"http://127.0.0.1:{port}", start(command, directory / "exporter.log", env=env, cwd=directory))


@contextmanager
def start_exporter(env: Mapping[str, str], directory: Path, *options: str) -> Iterator[Exporter]:
    """A serving exporter until the block ends; not necessarily ready."""
    exporter = run_exporter(env, directory, *options)
    try:
        wait_until(
            lambda: not exporter.process.running or exporter.get("/metrics").is_success,
            START_SECONDS,
            "a serving exporter",
            ignore=(httpx.HTTPError,),
        )
        if not exporter.process.running:
            raise RuntimeError(f"the exporter did not start:\n{exporter.process.output()[-4000:]}")
        yield exporter
    finally:
        exporter.process.stop()
