"""The demo as a user starts it: everything comes up, shows what it promises, and leaves nothing behind."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from support.processes import wait_until

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds the demo's processes in /proc")


@dataclass(frozen=True)
class RunningDemo:
    process: subprocess.Popen[bytes]
    directory: Path
    output: Path

    def address(self, name: str) -> str:
        """What the demo says about where it is."""
        found = re.search(rf"^{name} +(http\S+)$", self.output.read_text(), re.MULTILINE)
        if found is None and self.process.poll() is not None:
            pytest.fail(f"The demo ended:\n{self.output.read_text()}")
        return found[1] if found else ""

    def descendants(self) -> set[int]:
        """Whoever inherited the demo's Prefect home, in whatever session; zombies have no environment."""
        marked = f"PREFECT_HOME={self.directory / 'prefect-home'}\0".encode()
        pids = set()
        for environment in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if marked in environment.read_bytes():
                    pids.add(int(environment.parent.name))
        return pids


@contextmanager
def running_demo(directory: Path, output: Path) -> Iterator[RunningDemo]:
    options = ("--directory", str(directory), "--prefect-port", "0", "--listen", "127.0.0.1:0")
    with output.open("wb") as stdout:
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect_monitoring", "demo", *options],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.STDOUT,
            # A key of the user's must reach nothing; the exporter's options must reach the exporter.
            env=os.environ | {"PREFECT_API_KEY": "not-for-the-demo", "PREFECT_MONITORING_BIRTH_HOLD": "1s"},
            start_new_session=True,
        )
    running = RunningDemo(process, directory, output)
    try:
        yield running
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        for pid in running.descendants():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def runs(demo: RunningDemo, **criteria: object) -> list[dict[str, str]]:
    body = {"limit": 200, **criteria}
    answer = httpx.post(f"{demo.address('Prefect')}/api/flow_runs/filter", json=body, timeout=30).raise_for_status()
    found: list[dict[str, str]] = answer.json()
    return found


def states(demo: RunningDemo, flow: str) -> set[str]:
    return {run["state_type"] for run in runs(demo, flows={"name": {"any_": [flow]}})}


def outcomes(demo: RunningDemo, flow: str, state: str) -> float:
    """The counter as exposed; 0 while it is not."""
    text = httpx.get(f"{demo.address('Exporter')}/metrics", timeout=30).raise_for_status().text
    labels = rf'(?=[^}}]*\bflow="{flow}")(?=[^}}]*\bdeployment="prod")(?=[^}}]*\bstate="{state}")'
    found = re.search(rf"^prefect_flow_run_outcomes_total{{{labels}[^}}]*}} (\S+)", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def actions(demo: RunningDemo, action: str, result: str) -> float:
    """How often the exporter did `action` for supplier-prices, with that result."""
    text = httpx.get(f"{demo.address('Exporter')}/metrics", timeout=30).raise_for_status().text
    labels = rf'action="{action}",deployment="prod",flow="supplier-prices",result="{result}"'
    found = re.search(rf"^prefect_exporter_actions_total{{{labels}}} (\S+)", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def retry_ended(demo: RunningDemo) -> bool:
    """Saved by its retry, or exhausted: the supplier is down every other period."""
    return outcomes(demo, "supplier-prices", "completed") + actions(demo, "retry", "exhausted") > 0


def trend_points(demo: RunningDemo, block: str) -> int:
    body = {"block_documents": {"name": {"like_": f"{block}-points-"}, "is_anonymous": {"eq_": True}}}
    answer = httpx.post(f"{demo.address('Prefect')}/api/block_documents/filter", json=body, timeout=30)
    return sum(len(document["data"]["points"]) for document in answer.raise_for_status().json())


def stop(demo: RunningDemo, number: signal.Signals) -> None:
    demo.process.send_signal(number)
    assert demo.process.wait(20) == 0, demo.output.read_text()
    assert demo.descendants() == set()
    assert "Traceback" not in demo.output.read_text()


def cloudwatch_has_metrics(demo: RunningDemo) -> bool:
    text = httpx.get(f"{demo.address('Exporter')}/metrics", timeout=30).raise_for_status().text
    return 'prefect_exporter_sink_last_success_timestamp_seconds{sink="cloudwatch"}' in text


def messages(demo: RunningDemo) -> set[str]:
    """Of which kinds something came out of Alertmanager: so Prometheus scrapes, and evaluates the rules."""
    answer = httpx.get(f"{demo.address('Messages')}/messages", timeout=10, trust_env=False)
    return {message["kind"] for message in answer.json()}


def test_the_demo_is_counted_ends_without_a_trace_and_goes_on(tmp_path: Path) -> None:
    directory = tmp_path / "a demo"
    with running_demo(directory, tmp_path / "first") as demo:
        wait_until(lambda: demo.address("Exporter"), 90, "a demo that is up")
        wait_until(lambda: "FAILED" in states(demo, "legacy-ftp-import"), 150, "the failing flow", every=0.5)
        wait_until(lambda: "COMPLETED" in states(demo, "dbt-daily-pipeline"), 90, "the dbt pipeline", every=0.5)
        wait_until(lambda: states(demo, "lightdash-refresh"), 60, "the refresh that dbt starts", every=0.5)
        wait_until(lambda: outcomes(demo, "legacy-ftp-import", "failed") >= 1, 60, "a counted failure", every=0.5)
        wait_until(lambda: outcomes(demo, "dbt-daily-pipeline", "completed") >= 1, 60, "a counted dbt run", every=0.5)
        archive = directory / "prefect-home" / "run-archive" / "flow-runs"
        wait_until(lambda: list(archive.glob("*.json.gz")), 60, "the document of the dbt run", every=0.5)
        assert trend_points(demo, "dbt-daily-pipeline") == 1
        wait_until(lambda: actions(demo, "retry", "done"), 150, "a retry by the exporter", every=0.5)
        wait_until(lambda: retry_ended(demo), 150, "the end of what it retried", every=0.5)
        wait_until(lambda: "heartbeat" in messages(demo), 60, "the watchdog's heartbeat", every=0.5)
        wait_until(lambda: cloudwatch_has_metrics(demo), 90, "a minute that is pushed", every=0.5)
        wait_until(lambda: list(demo.directory.glob("archive/runs/dt=*/*.parquet")), 60, "archived runs", every=0.5)
        # The server, the exporter, the worker, and a flow run in the middle of its work.
        wait_until(lambda: len(demo.descendants()) > 3, 40, "a flow run's process")
        stop(demo, signal.SIGINT)
        stopped = datetime.now(UTC).isoformat()

    # Another free port: to the ledger, the same server at another address.
    with running_demo(directory, tmp_path / "second") as demo:
        wait_until(lambda: demo.address("Exporter"), 90, "a demo that is up again")
        unfinished = {"type": {"any_": ["SCHEDULED", "PENDING", "RUNNING"]}}
        left = runs(demo, flow_runs={"state": unfinished, "expected_start_time": {"before_": stopped}})
        # What failed in the first demo's last seconds is retried by the second.
        assert [run for run in left if run["state_name"] != "AwaitingRetry"] == []
        wait_until(lambda: outcomes(demo, "dbt-daily-pipeline", "completed") >= 1, 60, "the first demo's count")
        stop(demo, signal.SIGTERM)
