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

import pytest

from prefect_monitoring.demo.schedule import POOL_SLOTS, WORKER_POOL
from support.http_client import CLIENT
from support.processes import wait_until

PATIENCE = 120  # for an answer: SQLite of a busy server locks other requests out for 30 s at a time
ACTIONS_SECONDS = 300  # on a busy machine, each of the runs that lead to an action takes a minute
WATCHED = (
    "dbt-daily-pipeline",
    "lightdash-refresh",
    "legacy-ftp-import",
    "margin-report",
    "supplier-prices",
    "warehouse-compaction",
)

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
    except BaseException:
        sys.stdout.write(output.read_text())
        raise
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        for pid in running.descendants():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def runs(demo: RunningDemo, **criteria: object) -> list[dict[str, str]]:
    body = {"limit": 200, **criteria}
    answer = CLIENT.post(
        f"{demo.address('Prefect')}/api/flow_runs/filter", json=body, timeout=PATIENCE
    ).raise_for_status()
    found: list[dict[str, str]] = answer.json()
    return found


def pause_all_but(demo: RunningDemo, *flows: str) -> None:
    """Ends the schedules of the other flows: on a busy machine, their processes delay those that the test waits for."""
    api = f"{demo.address('Prefect')}/api"
    every_deployment = CLIENT.post(f"{api}/deployments/filter", json={}, timeout=PATIENCE).raise_for_status().json()
    names = {flow["id"]: flow["name"] for flow in CLIENT.post(f"{api}/flows/filter", json={}, timeout=PATIENCE).json()}
    for deployment in every_deployment:
        if names[deployment["flow_id"]] not in flows:
            CLIENT.post(f"{api}/deployments/{deployment['id']}/pause_deployment", timeout=PATIENCE).raise_for_status()


def states(demo: RunningDemo, flow: str) -> set[str]:
    return {run["state_type"] for run in runs(demo, flows={"name": {"any_": [flow]}})}


def outcomes(demo: RunningDemo, flow: str, state: str) -> float:
    """The counter as exposed; 0 while it is not."""
    text = CLIENT.get(f"{demo.address('Exporter')}/metrics", timeout=PATIENCE).raise_for_status().text
    labels = rf'(?=[^}}]*\bflow="{flow}")(?=[^}}]*\bdeployment="prod")(?=[^}}]*\bstate="{state}")'
    found = re.search(rf"^prefect_flow_run_outcomes_total{{{labels}[^}}]*}} (\S+)", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def actions(demo: RunningDemo, flow: str, action: str, result: str = "done") -> float:
    """How often the exporter did `action` for a flow's deployment, with that result."""
    text = CLIENT.get(f"{demo.address('Exporter')}/metrics", timeout=PATIENCE).raise_for_status().text
    labels = rf'action="{action}",deployment="prod",flow="{flow}",result="{result}"'
    found = re.search(rf"^prefect_exporter_actions_total{{{labels}}} (\S+)", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


def slots(demo: RunningDemo, pool: str) -> int | None:
    answer = CLIENT.get(f"{demo.address('Prefect')}/api/work_pools/{pool}", timeout=PATIENCE).raise_for_status()
    limit: int | None = answer.json()["concurrency_limit"]
    return limit


def trend_points(demo: RunningDemo, block: str) -> int:
    body = {"block_documents": {"name": {"like_": f"{block}-points-"}, "is_anonymous": {"eq_": True}}}
    answer = CLIENT.post(f"{demo.address('Prefect')}/api/block_documents/filter", json=body, timeout=PATIENCE)
    return sum(len(document["data"]["points"]) for document in answer.raise_for_status().json())


def stop(demo: RunningDemo, number: signal.Signals) -> None:
    demo.process.send_signal(number)
    assert demo.process.wait(20) == 0, demo.output.read_text()
    assert demo.descendants() == set()
    assert "Traceback" not in demo.output.read_text()


def cloudwatch_has_metrics(demo: RunningDemo) -> bool:
    text = CLIENT.get(f"{demo.address('Exporter')}/metrics", timeout=PATIENCE).raise_for_status().text
    return 'prefect_exporter_sink_last_success_timestamp_seconds{sink="cloudwatch"}' in text


def messages(demo: RunningDemo, kind: str, *texts: str) -> bool:
    """Whether a message of this kind, with all `texts`, came out of Alertmanager."""
    answer = CLIENT.get(f"{demo.address('Messages')}/messages")
    bodies = [str(message["body"]) for message in answer.json() if message["kind"] == kind]
    return any(all(text in body for text in texts) for body in bodies)


def check_actions(demo: RunningDemo) -> None:
    """What examples/pipelines.yml declares, from cause to effect; the supplier is down every other run."""
    supplier, compaction = "supplier-prices", "warehouse-compaction"
    wait_until(lambda: actions(demo, compaction, "scale_up"), ACTIONS_SECONDS, "a pool with more slots", every=0.5)
    # Its first attempt always fails: what completes was retried.
    wait_until(lambda: outcomes(demo, supplier, "completed"), ACTIONS_SECONDS, "a run that its retry saves", every=0.5)
    wait_until(lambda: actions(demo, supplier, "retry", "exhausted"), ACTIONS_SECONDS, "a retry in vain", every=0.5)
    wait_until(lambda: actions(demo, supplier, "pause"), ACTIONS_SECONDS, "a downstream that is paused", every=0.5)
    wait_until(lambda: actions(demo, supplier, "resume"), ACTIONS_SECONDS, "a downstream that is resumed", every=0.5)
    wait_until(lambda: actions(demo, compaction, "scale_down"), ACTIONS_SECONDS, "a pool as it was", every=0.5)
    assert slots(demo, WORKER_POOL) == POOL_SLOTS[WORKER_POOL]
    page = ("supplier-prices/prod", "after all its retries")
    wait_until(lambda: messages(demo, "pagerduty", *page), ACTIONS_SECONDS, "a page for exhausted retries", every=0.5)


@pytest.mark.timeout(1800)
def test_the_demo_is_counted_ends_without_a_trace_and_goes_on(tmp_path: Path) -> None:
    directory = tmp_path / "a demo"
    with running_demo(directory, tmp_path / "first") as demo:
        wait_until(lambda: demo.address("Exporter"), 90, "a demo that is up")
        pause_all_but(demo, *WATCHED)
        wait_until(lambda: "FAILED" in states(demo, "legacy-ftp-import"), 150, "the failing flow", every=0.5)
        wait_until(lambda: "COMPLETED" in states(demo, "dbt-daily-pipeline"), 90, "the dbt pipeline", every=0.5)
        wait_until(lambda: states(demo, "lightdash-refresh"), 60, "the refresh that dbt starts", every=0.5)
        wait_until(lambda: outcomes(demo, "legacy-ftp-import", "failed") >= 1, 60, "a counted failure", every=0.5)
        wait_until(lambda: outcomes(demo, "dbt-daily-pipeline", "completed") >= 1, 60, "a counted dbt run", every=0.5)
        archive = directory / "prefect-home" / "run-archive" / "flow-runs"
        wait_until(lambda: list(archive.glob("*.json.gz")), 60, "the document of the dbt run", every=0.5)
        assert trend_points(demo, "dbt-daily-pipeline") == 1
        check_actions(demo)
        wait_until(lambda: messages(demo, "heartbeat"), 60, "the watchdog's heartbeat", every=0.5)
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
