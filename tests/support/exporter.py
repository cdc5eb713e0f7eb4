"""The exporter as users run it: a separate process."""

import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from support.certificates import Pair
from support.exposition import Samples, parse, total
from support.http_client import CLIENT
from support.ports import free_port
from support.processes import Process, start, wait_until

START_SECONDS = 60
FAST = ("--poll-interval", "1s", "--inventory-interval", "2s", "--ledger-wait", "0s")


@dataclass
class Exporter:
    url: str
    process: Process
    credentials: Mapping[str, str] = field(default_factory=dict)  # headers that every request carries
    trusted: ssl.SSLContext | None = None

    def get(self, path: str, **headers: str) -> httpx.Response:
        sent = {**self.credentials, **headers}
        if self.trusted is None:
            return CLIENT.get(f"{self.url}{path}", headers=sent)
        return httpx.get(f"{self.url}{path}", headers=sent, timeout=10, trust_env=False, verify=self.trusted)

    @property
    def text(self) -> str:
        return self.get("/metrics").raise_for_status().text

    @property
    def samples(self) -> Samples:
        return parse(self.text)

    def wait_polled(self, since: float, seconds: float = START_SECONDS) -> None:
        """Wait until it has read all runs that ended before `since` (epoch seconds)."""
        name = "prefect_exporter_source_last_success_timestamp_seconds"
        wait_until(lambda: total(self.samples, name, source="finished_flow_runs") > since, seconds, "another poll")

    def wait_ready(self, seconds: float = START_SECONDS) -> None:
        wait_until(lambda: self.get("/-/ready").is_success, seconds, "a ready exporter", ignore=(httpx.HTTPError,))

    def wait_serving(self, seconds: float = START_SECONDS) -> None:
        """Wait until it has metrics to show; it is healthy before that."""
        wait_until(lambda: self.get("/metrics").is_success, seconds, "a serving exporter", ignore=(httpx.HTTPError,))


def serve_arguments(port: int, directory: Path) -> list[str]:
    ledger = f"sqlite:///{directory / 'ledger.db'}"
    return ["serve", "--listen", f"127.0.0.1:{port}", *FAST, "--ledger-url", ledger]


def run_exporter(
    env: Mapping[str, str],
    directory: Path,
    *options: str,
    script: Sequence[str] = ("-m", "prefect_monitoring"),
    pair: Pair | None = None,
    credentials: Mapping[str, str] | None = None,
) -> Exporter:
    """Starts `serve` with a ledger in `directory`; if it exits immediately, `process` shows it."""
    port = free_port()
    command = [sys.executable, *script, *serve_arguments(port, directory), *options]
    if pair is not None:
        command += ["--tls-cert", str(pair.cert), "--tls-key", str(pair.key)]
    process = start(command, directory / "exporter.log", env=env, cwd=directory)
    trusted = ssl.create_default_context(cafile=pair.cert) if pair is not None else None
    return Exporter(f"{'https' if pair else 'http'}://127.0.0.1:{port}", process, credentials or {}, trusted)


@contextmanager
def start_exporter(
    env: Mapping[str, str],
    directory: Path,
    *options: str,
    pair: Pair | None = None,
    credentials: Mapping[str, str] | None = None,
) -> Iterator[Exporter]:
    """A serving exporter until the block ends; not necessarily ready."""
    exporter = run_exporter(env, directory, *options, pair=pair, credentials=credentials)
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


def actions(ledger: Path, *arguments: str) -> str:
    """What `prefect-monitoring actions` says beside the running exporter."""
    command = [sys.executable, "-m", "prefect_monitoring", "actions", "--ledger-url", f"sqlite:///{ledger}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
