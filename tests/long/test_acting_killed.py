"""Runs that always fail get exactly 3 retries, no matter when the exporter, the server and the worker are killed.

ACT_KILLS is the number of kills (default: 12). To fit many of them into minutes, two of three hit
the exporter: as a fork with completed imports, it restarts within a second, and its state could count a retry
twice. Half of those come at random times, the others in the middle of an action. A worker is killed with the runs that
it executes, as if its machine was lost. Prefect leaves those in Pending or Running forever, so the test marks them
Crashed, as a user would.

The worker starts a script that reports the engine's states, which leaves two busy cores for the killed processes, and
three unfinished runs are always being retried. test_acting_on_real_runs.py uses the real engine.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from support import acting_flows, failing_run, killed_acting
from support.exporter import Exporter
from support.exposition import total
from support.forked import Fork, Forker
from support.ports import free_port
from support.postgres import start_postgres
from support.prefect_server import PrefectServer, env_for, start_server
from support.processes import Process, wait_until
from support.seeder import Seeder
from support.workers import deploy, start_worker

KILLS = int(os.environ.get("ACT_KILLS", "12"))
SEED = 11
VICTIMS = {"exporter": 9, "worker": 6, "server": 3, **dict.fromkeys(killed_acting.POINTS, 3)}  # and their weights
AT_ONCE = 3  # unfinished runs, so that each kill hits some of them
PAUSE_SECONDS = 2.0  # maximum before a kill
SETTLE_SECONDS = 300.0
RULES = """
pipelines:
  - flow: hopeless
    retry: {max: 3, delay: 1s, jitter: 50%}
"""
# Without a hold: after each kill it would begin again, and expose the counts a minute later.
OPTIONS = ("--act", "--act-max-per-hour", "1000000", "--act-max-per-cause", "1000000", "--birth-hold", "0s")
POOL = "doomed"
BUSY = (httpx.HTTPError,)


@dataclass
class Site:
    """The three processes that are killed, and the failing runs."""

    directory: Path
    stack: ExitStack
    port: int
    server: PrefectServer
    seeder: Seeder
    forker: Forker
    deployment: str = ""
    exporter: Exporter | None = None
    fork: Fork | None = None
    worker: Process | None = None
    runs: list[str] = field(default_factory=list)
    finished: set[str] = field(default_factory=set)
    kills: Counter[str] = field(default_factory=Counter)

    def start_exporter(self, point: str = "") -> None:
        rules = str(self.directory / "pipelines.yml")
        self.exporter, self.fork = self.forker.start(point, *OPTIONS, "--pipelines", rules)
        self.stack.callback(self.fork.kill)

    def start_worker(self) -> None:
        self.worker = start_worker(self.server, POOL, self.directory)
        self.stack.callback(self.worker.kill_all)

    def kill(self, victim: str) -> None:
        """Kills and restarts it; the next kill may hit it during its startup."""
        self.kills[victim] += 1
        if victim == "worker":
            self.lose_worker()
            self.start_worker()
        elif victim == "server":
            url = self.server.database_url
            self.server.process.kill()
            self.server = self.stack.enter_context(start_server(self.directory, port=self.port, database_url=url))
        else:
            self.kill_exporter(victim)

    def kill_exporter(self, victim: str) -> None:
        assert self.fork is not None
        self.fork.kill()
        if victim in killed_acting.POINTS:
            self.start_exporter(victim)
            dying = self.fork
            wait_until(lambda: self.keep_failing() and not dying.running, 180, f"a death {victim}", every=0.2)
            assert dying.exit_code == -signal.SIGKILL, dying.output()[-4000:]
        self.start_exporter()

    def keep_failing(self) -> bool:
        """Starts runs until AT_ONCE are unfinished."""
        while len(self.unfinished()) < AT_ONCE:
            flow = self.seeder.flow("hopeless")
            self.runs.append(self.seeder.run(flow, deployment_id=self.deployment, state="Scheduled"))
        return True

    def lose_worker(self) -> None:
        assert self.worker is not None
        self.worker.kill_all()
        for run in self.runs:
            if self.seeder.read(run)["state_type"] in ("PENDING", "RUNNING"):
                self.seeder.mark(run, "CRASHED", "its worker is gone")

    def unfinished(self) -> list[str]:
        """Runs that have not failed after their last retry."""
        self.finished |= {run for run in self.runs if run not in self.finished and is_over(self.seeder.history(run))}
        return [run for run in self.runs if run not in self.finished]


def retries(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [state for state in history if state["name"] == "AwaitingRetry"]


def is_over(history: list[dict[str, Any]]) -> bool:
    return len(retries(history)) >= 3 and history[-1]["type"] in ("FAILED", "CRASHED")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "pipelines.yml").write_text(RULES)
    port = free_port()
    with ExitStack() as stack:
        postgres = stack.enter_context(start_postgres(tmp_path))
        server = stack.enter_context(start_server(tmp_path, port=port, database_url=postgres.url()))
        seeder = stack.enter_context(Seeder(server.url))
        forker = Forker(killed_acting.__name__, env_for(server), tmp_path)
        stack.callback(forker.close)
        site = Site(tmp_path, stack, port, server, seeder, forker)
        seeder.work_pool(POOL)
        command = f"{sys.executable} {failing_run.__file__}"
        site.deployment = deploy(seeder, Path(acting_flows.__file__), "hopeless", POOL, command=command)
        site.start_worker()
        site.start_exporter()
        yield site


@pytest.mark.timeout(600 + 15 * KILLS)
def test_failing_runs_get_exactly_three_retries_under_kills(site: Site) -> None:
    wait_acting(site)
    begun = time.monotonic()
    dice = random.Random(SEED)
    for _ in range(KILLS):
        site.keep_failing()
        if dice.random() < 2 / 3:  # otherwise the kill may hit it during its startup
            wait_acting(site)
        time.sleep(dice.uniform(0, PAUSE_SECONDS))  # at a random time
        (victim,) = dice.choices(list(VICTIMS), list(VICTIMS.values()))
        site.kill(victim)
    killed = time.monotonic()
    settle(site)
    took = f"{killed - begun:.0f} s, settled {time.monotonic() - killed:.0f} s later"
    sys.stdout.write(f"{KILLS} kills in {took}: {dict(site.kills)}; {len(site.runs)} runs\n")  # shown by -rP
    verify(site)


def wait_acting(site: Site) -> None:
    wait_until(
        lambda: site.exporter and total(site.exporter.samples, "prefect_exporter_acting") == 1,
        120,
        "an exporter that acts",
        ignore=BUSY,
    )


def settle(site: Site) -> None:
    """Waits until every run has used all its retries, and the exporter has counted them."""
    wait_acting(site)
    # The last request of a killed worker may arrive later, and a worker may give up during an outage of the server.
    site.lose_worker()
    site.start_worker()
    try:
        wait_until(lambda: not site.unfinished(), SETTLE_SECONDS, "runs that have failed for good", every=1)
        wait_until(lambda: counted(site, "exhausted") >= len(site.runs), 60, "exhausted retries", every=0.5)
        wait_until(lambda: counted(site, "done") >= 3 * len(site.runs), 60, "retries that are done", every=0.5)
    except TimeoutError:
        sys.stdout.write(explain(site))
        raise


def explain(site: Site) -> str:
    """The histories of unfinished runs (of all, if there are none), the counts and the end of the exporter's log."""
    assert site.fork is not None
    histories = {
        run: [(state["timestamp"], state["name"]) for state in site.seeder.history(run)]
        for run in site.unfinished() or site.runs
    }
    counts = {result: counted(site, result) for result in ("done", "exhausted")}
    return f"{histories}\n{counts} of {len(site.runs)} runs\n{site.fork.output()[-8000:]}"


def counted(site: Site, result: str) -> float:
    assert site.exporter is not None
    return total(site.exporter.samples, "prefect_exporter_actions_total", action="retry", result=result)


def verify(site: Site) -> None:
    for run in site.runs:
        history = site.seeder.history(run)
        made = retries(history)
        messages = [str(state["message"]) for state in made]
        assert [message.split(" by ")[0] for message in messages] == [f"Retry {n} of 3" for n in (1, 2, 3)], messages
        assert len({state["state_details"]["transition_id"] for state in made}) == 3
        assert history[-1]["type"] in ("FAILED", "CRASHED")
        stored = events(site, run)
        assert stored.keys() <= {1, 2, 3}
        assert all(times == 1 for times in stored.values()), "an event that is sent again is stored once"
    assert counted(site, "done") == 3 * len(site.runs), "each retry is counted once"
    assert counted(site, "exhausted") == len(site.runs)


def events(site: Site, run: str) -> Counter[int]:
    """How often the event of each retry of a run is stored. A killed server may lose some."""
    criteria = {
        "occurred": {"since": "2020-01-01T00:00:00Z", "until": "2100-01-01T00:00:00Z"},
        "event": {"name": ["prefect-monitoring.retry.done"]},
        "resource": {"id": [f"prefect.flow-run.{run}"]},
    }
    found = site.seeder.call("POST", "/events/filter", {"filter": criteria})["events"]
    return Counter(event["payload"]["attempt"] for event in found)
