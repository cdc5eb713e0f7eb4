"""A real flow killed with SIGKILL, without a worker, is found by its missing heartbeats and marked Crashed.

No other flow is, however it lives. LIVING_RUNS is their number (default: one of each way of living), BEAT_SECONDS the
interval of the heartbeats (default: 30, the shortest that Prefect allows; Prefect's own default is 180).
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import pytest

from support import living_flows
from support.exporter import Exporter, start_exporter
from support.exposition import matching, total, value
from support.living_flows import WAYS
from support.postgres import start_postgres
from support.prefect_server import PrefectServer, env_for, start_server
from support.processes import Process, start, wait_until
from support.seeder import Seeder

FLOW = Path(living_flows.__file__)
LIVING_RUNS = int(os.environ.get("LIVING_RUNS", len(WAYS)))
BEAT_SECONDS = float(os.environ.get("BEAT_SECONDS", "30"))
# Three missed heartbeats and the polls in between, as documented: 120 s at 30 s, ten minutes at 180 s.
FOUND_WITHIN_SECONDS = 3 * BEAT_SECONDS + (30 if BEAT_SECONDS <= 30 else 60)
PATIENCE_SECONDS = 10 * BEAT_SECONDS
RULES = """
pipelines:
  - {flow: .*, deployment: "", unresponsive: {mark: crashed}}
"""


@dataclass(frozen=True)
class Site:
    directory: Path
    server: PrefectServer
    seeder: Seeder
    exporter: Exporter

    def beat(self, flow: str) -> float | None:
        return value(self.exporter.samples, "prefect_flow_run_heartbeat_timestamp_seconds", flow=flow)

    def unresponsive(self) -> dict[str, float]:
        """The flows with runs that the exporter takes for dead."""
        found = matching(self.exporter.samples, "prefect_flow_runs_unresponsive")
        return {dict(labels)["flow"]: number for labels, number in found.items() if number}

    def states_of(self, flow: str) -> list[dict[str, str]]:
        runs = self.seeder.call("POST", "/flow_runs/filter", {"flows": {"name": {"any_": [flow]}}})
        return [run["state"] for run in runs]

    def run(self, name: str, way: str) -> Process:
        env = env_for(self.server) | {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": f"{BEAT_SECONDS:.0f}"}
        return start([sys.executable, FLOW, name, way], self.directory / f"{name}.log", env=env, cwd=self.directory)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "pipelines.yml").write_text(RULES)
    with ExitStack() as stack:
        postgres = stack.enter_context(start_postgres(tmp_path))
        server = stack.enter_context(start_server(tmp_path / "server", database_url=postgres.url()))
        options = ("--act", "--pipelines", str(tmp_path / "pipelines.yml"), "--poll-interval", "5s")
        exporter = stack.enter_context(start_exporter(env_for(server), tmp_path, *options))
        exporter.wait_ready()
        yield Site(tmp_path, server, stack.enter_context(Seeder(server.url)), exporter)


@pytest.mark.timeout(600 + 9 * PATIENCE_SECONDS)
def test_killed_flow_alone_is_found_in_time_and_marked_crashed(site: Site) -> None:
    living = {f"alive-{number}-{way}": way for number, way in enumerate(islice(cycle(WAYS), LIVING_RUNS))}
    with ExitStack() as stack:
        processes = [site.run(name, way) for name, way in living.items()]
        dead = site.run("dead", "")
        for process in (*processes, dead):
            stack.callback(process.kill)
        first = wait_until(lambda: site.beat("dead"), PATIENCE_SECONDS, "a heartbeat")
        wait_until(lambda: site.beat("dead") != first, PATIENCE_SECONDS, "a second heartbeat")
        assert site.unresponsive() == {}
        dead.kill()
        killed = time.monotonic()
        silent = wait_until(site.unresponsive, FOUND_WITHIN_SECONDS, "a silent run", every=0.5)
        found = time.monotonic() - killed
        assert silent == {"dead": 1}
        wait_until(lambda: site.states_of("dead")[0]["type"] == "CRASHED", PATIENCE_SECONDS, "a crash")
        marked = time.monotonic() - killed
        sys.stdout.write(f"found {found:.0f} s, marked {marked:.0f} s after the kill, at {BEAT_SECONDS:.0f} s beats\n")
        assert "no heartbeat since" in site.states_of("dead")[0]["message"]
        wait_until(lambda: not any(process.running for process in processes), 3 * PATIENCE_SECONDS, "the other flows")
    ends = [state["name"] for name in living for state in site.states_of(name)]
    failing = [name for name, way in living.items() if way == "fails_after_a_while"]
    assert sorted(ends) == sorted(["Failed"] * len(failing) + ["Completed"] * (len(living) - len(failing)))
    marks = total(site.exporter.samples, "prefect_exporter_actions_total", action="mark_crashed")
    assert marks == 1, "only the killed one"
    sys.stdout.write(f"{LIVING_RUNS} living runs, none of them marked\n")
