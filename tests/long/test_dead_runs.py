"""A real flow killed with SIGKILL, without a worker, is detected by missing heartbeats and marked Crashed."""

import sys
import time
from pathlib import Path

import pytest

from support.exporter import Exporter, start_exporter
from support.exposition import total, value
from support.prefect_server import env_for, start_server
from support.processes import Process, start, wait_until
from support.seeder import Seeder

FLOW = Path(__file__).with_name("waiting_flow.py")
BEAT_SECONDS = 30.0
# Three missed heartbeats and the polls in between: 120 s, as documented.
FOUND_WITHIN_SECONDS = 120.0
PATIENCE_SECONDS = 300.0
RULES = """
pipelines:
  - {flow: dead, deployment: "", unresponsive: {mark: crashed}}
  - {flow: alive, deployment: ""}
"""


def beats(exporter: Exporter, flow: str) -> float | None:
    return value(exporter.samples, "prefect_flow_run_heartbeat_timestamp_seconds", flow=flow)


def unresponsive(exporter: Exporter, flow: str) -> float:
    return total(exporter.samples, "prefect_flow_runs_unresponsive", flow=flow)


def state_of(seeder: Seeder, flow: str) -> dict[str, str]:
    (run,) = seeder.call("POST", "/flow_runs/filter", {"flows": {"name": {"any_": [flow]}}})
    state: dict[str, str] = run["state"]
    return state


def run_flow(env: dict[str, str], name: str, directory: Path) -> Process:
    return start([sys.executable, FLOW, name], directory / f"{name}.log", env=env, cwd=directory)


@pytest.mark.timeout(4 * PATIENCE_SECONDS)
def test_killed_flow_is_found_within_two_minutes_and_marked_crashed(tmp_path: Path) -> None:
    (tmp_path / "pipelines.yml").write_text(RULES)
    with start_server(tmp_path / "server") as server, Seeder(server.url) as seeder:
        env = env_for(server) | {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": str(int(BEAT_SECONDS))}
        options = ("--act", "--pipelines", str(tmp_path / "pipelines.yml"), "--poll-interval", "5s")
        with start_exporter(env, tmp_path, *options) as exporter:
            exporter.wait_ready()
            flows = [run_flow(env, name, tmp_path) for name in ("alive", "dead")]
            try:
                first = wait_until(lambda: beats(exporter, "dead"), PATIENCE_SECONDS, "a heartbeat")
                wait_until(lambda: beats(exporter, "dead") != first, PATIENCE_SECONDS, "a second heartbeat")
                assert (unresponsive(exporter, "dead"), unresponsive(exporter, "alive")) == (0, 0)
                flows[1].kill()
                killed = time.monotonic()
                wait_until(lambda: unresponsive(exporter, "dead") == 1, FOUND_WITHIN_SECONDS, "a silent run", every=0.5)
                found = time.monotonic() - killed
                wait_until(lambda: state_of(seeder, "dead")["type"] == "CRASHED", PATIENCE_SECONDS, "a crash")
                marked = time.monotonic() - killed
                print(f"found {found:.0f} s and marked {marked:.0f} s after the kill, at {BEAT_SECONDS:.0f} s beats")  # noqa: T201
                assert "no heartbeat since" in state_of(seeder, "dead")["message"]
                assert state_of(seeder, "alive")["type"] == "RUNNING"
                assert unresponsive(exporter, "alive") == 0
                wait_until(
                    lambda: total(
                        exporter.samples, "prefect_exporter_actions_total", action="mark_crashed", result="done"
                    ),
                    PATIENCE_SECONDS,
                    "the action",
                )
            finally:
                for one in flows:
                    one.kill()
