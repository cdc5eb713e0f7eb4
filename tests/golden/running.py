"""Runs the exporter's commands as users do, at a fixed instant, against the stub of the server."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import httpx

from golden.stub import Stub
from support.ports import free_port
from support.processes import start, wait_until

HERE = Path(__file__).parent
SECONDS = 90.0  # about 5 s on an idle machine
# After this many further readings of every source, everything that was read is shown.
READINGS = 3


@dataclass(frozen=True)
class Served:
    metrics: str
    page: str


def _command(now: float, *arguments: str) -> list[str]:
    return [sys.executable, str(HERE / "at_instant.py"), str(now), *arguments]


def _options(directory: Path) -> list[str]:
    ledger = f"sqlite:///{directory / 'ledger.db'}"
    return [
        "--config",
        str(HERE / "exporter.yaml"),
        "--pipelines",
        str(HERE / "pipelines.yaml"),
        "--ledger-url",
        ledger,
    ]


def _environment(stub: Stub, directory: Path) -> dict[str, str]:
    """Without settings of the caller, and without promtool, whose blocks are not compared."""
    kept = {name: one for name, one in os.environ.items() if not name.startswith("PREFECT_")}
    return kept | {"PREFECT_API_URL": stub.url, "PREFECT_HOME": str(directory), "PATH": ""}


def serve(stub: Stub, directory: Path, now: float) -> Served:
    """The output of `serve` at `now` with the ledger in `directory`, once it has read everything."""
    stub.move_to(now)
    listen = f"127.0.0.1:{free_port()}"
    command = _command(now, "serve", "--listen", listen, *_options(directory))
    process = start(command, directory / "serve.log", env=_environment(stub, directory), cwd=directory)
    try:
        with httpx.Client(base_url=f"http://{listen}", timeout=30, trust_env=False) as client:
            _wait_until_settled(client)
            return Served(client.get("/metrics").text, client.get("/").text)
    except TimeoutError as fault:
        fault.add_note(f"{stub.unknown}\n{process.output()[-4000:]}")
        raise
    finally:
        process.stop()


def backfill(stub: Stub, directory: Path, now: float, *options: str) -> tuple[str, list[tuple[str, str]]]:
    """The output of `backfill`, and the (name, text) of the files that it writes."""
    stub.move_to(now)
    output = directory / "past"
    command = _command(now, "backfill", "--output", str(output), *options, *_options(directory))
    done = subprocess.run(
        command,
        env=_environment(stub, directory),
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert done.returncode == 0, (done.stderr, stub.unknown)
    return done.stdout, [(file.name, file.read_text("utf-8")) for file in sorted(output.rglob("*.om"))]


def _wait_until_settled(client: httpx.Client) -> None:
    def is_ready() -> bool:
        return client.get("/-/ready").is_success and all(_readings(client).values())

    wait_until(is_ready, SECONDS, "an exporter that has read every source", ignore=(httpx.HTTPError,))
    before = _readings(client)

    def has_read_again() -> bool:
        now = _readings(client)
        return all(now[source] >= before[source] + READINGS for source in before)

    wait_until(has_read_again, SECONDS, "an exporter that has read every source again")


def _readings(client: httpx.Client) -> dict[str, float]:
    """The number of readings by source."""
    lines = client.get("/metrics").text.splitlines()
    name = "prefect_exporter_source_duration_seconds_count"
    counts = [line.removeprefix(name).split(" ") for line in lines if line.startswith(name)]
    return {source: float(count) for source, count in counts}
