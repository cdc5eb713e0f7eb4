"""Each rule from its cause to its effect, on runs that `serve()` or a process worker executes; -rP shows the times."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from support import acting_flows
from support.exporter import Exporter, start_exporter
from support.exposition import total
from support.postgres import start_postgres
from support.prefect_server import env_for, start_server
from support.processes import wait_until
from support.seeder import Seeder
from support.workers import deploy, start_serving, start_worker

SCRIPT = Path(acting_flows.__file__)
DELAY_SECONDS = 1.0
RULES = """
defaults:
  retry: {max: 3, delay: 1s, jitter: 0%}
pipelines:
  - {flow: source, retry: {max: 0}, on_failure: {pause: [report/served], resume_on_success: true}}
  - {flow: long, scale: {when_running_longer_than: 2s, work_pool: narrow, concurrency: 2, back_after: 2s}}
  - {flow: late, skip: {when_later_than: 1m}}
"""
PATIENCE = 120.0


@dataclass
class Site:
    folder: Path
    seeder: Seeder
    exporter: Exporter
    deployments: dict[str, str]  # ids, by flow/deployment
    late_run: str  # waits from the beginning, so that it is too late when its test comes

    def run(self, name: str) -> str:
        flow = self.seeder.flow(name.partition("/")[0])
        return self.seeder.run(flow, deployment_id=self.deployments[name], state="Scheduled")

    def wait_state(self, run: str, *types: str, timeout: float = PATIENCE) -> None:
        what = f"{run} at {types}"
        wait_until(lambda: self.seeder.read(run)["state_type"] in types, timeout, what, every=0.1)

    def is_paused(self, name: str) -> bool:
        return bool(self.seeder.call("GET", f"/deployments/{self.deployments[name]}")["paused"])

    def slots(self) -> int:
        return int(self.seeder.call("GET", "/work_pools/narrow")["concurrency_limit"])

    def counted(self, flow: str, action: str, result: str) -> float:
        return total(self.exporter.samples, "prefect_exporter_actions_total", flow=flow, action=action, result=result)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("acting")
    (folder / "pipelines.yml").write_text(RULES)
    env = {"ACTING_FOLDER": str(folder)}
    with ExitStack() as stack:
        # On SQLite, the writes of two workers and of serve() lock each other out for half a minute at times.
        postgres = stack.enter_context(start_postgres(folder))
        server = stack.enter_context(start_server(folder, database_url=postgres.create("prefect")))
        seeder = stack.enter_context(Seeder(server.url))
        stack.callback(start_serving(server, SCRIPT, folder, env).kill_all)
        seeder.work_pool("wide")
        seeder.work_queue("wide", "later")
        seeder.pause(work_pool="wide", work_queue="later")
        seeder.work_pool("narrow", concurrency_limit=1)
        deployments = {
            "flaky/worker": deploy(seeder, SCRIPT, "flaky", "wide", env=env),
            "late/worker": deploy(seeder, SCRIPT, "late", "wide", queue="later", env=env),
            "long/worker": deploy(seeder, SCRIPT, "long", "narrow", env=env),
        }
        for pool in ("wide", "narrow"):
            stack.callback(start_worker(server, pool, folder).kill_all)
        served = ("flaky", "fragile", "hopeless", "source", "report")
        wait_until(lambda: deployed(seeder).keys() >= {f"{flow}/served" for flow in served}, PATIENCE, "deployments")
        deployments = deployed(seeder)
        options = ("--act", "--birth-hold", "1s", "--pipelines", str(folder / "pipelines.yml"))
        exporter = stack.enter_context(start_exporter(env_for(server), folder, *options))
        wait_until(lambda: total(exporter.samples, "prefect_exporter_acting") == 1, PATIENCE, "an exporter that acts")
        late_run = seeder.run(seeder.flow("late"), deployment_id=deployments["late/worker"], state="Scheduled")
        yield Site(folder, seeder, exporter, deployments, late_run)


def deployed(seeder: Seeder) -> dict[str, str]:
    flows = {flow["id"]: flow["name"] for flow in seeder.call("POST", "/flows/filter", {})}
    found = seeder.call("POST", "/deployments/filter", {})
    return {f"{flows[one['flow_id']]}/{one['name']}": one["id"] for one in found}


def at(state: dict[str, Any]) -> float:
    return datetime.fromisoformat(state["timestamp"]).timestamp()


def due(state: dict[str, Any]) -> float:
    return datetime.fromisoformat(state["state_details"]["scheduled_time"]).timestamp()


def names(history: list[dict[str, Any]]) -> list[str]:
    """A run's ends and retries."""
    told = ("Failed", "Crashed", "Completed", "AwaitingRetry")
    return [state["name"] for state in history if state["name"] in told]


def show(what: str, **seconds: float) -> None:
    """For -rP."""
    sys.stdout.write(f"{what}: " + ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items()) + "\n")


@pytest.mark.parametrize(
    ("pipeline", "end"), [("flaky/served", "Failed"), ("flaky/worker", "Failed"), ("fragile/served", "Crashed")]
)
def test_a_retry_saves_a_run(site: Site, pipeline: str, end: str) -> None:
    run = site.run(pipeline)
    site.wait_state(run, "COMPLETED")

    history = site.seeder.history(run)
    assert names(history) == [end, "AwaitingRetry", "Completed"]
    assert site.seeder.read(run)["run_count"] == 2
    ended, retried, completed = (state for state in history if state["name"] in (end, "AwaitingRetry", "Completed"))
    second = [state for state in history if state["type"] == "RUNNING"][1]
    assert at(second) >= due(retried) >= at(ended) + DELAY_SECONDS - 0.1
    show(
        f"{pipeline} {end} → set to AwaitingRetry",
        after=at(retried) - at(ended),
        running_after=at(second) - at(ended),
        completed_after=at(completed) - at(ended),
    )


def test_retries_are_exhausted_after_max(site: Site) -> None:
    run = site.run("hopeless/served")
    wait_until(lambda: site.counted("hopeless", "retry", "exhausted") == 1, 2 * PATIENCE, "an exhausted run", every=0.5)

    history = site.seeder.history(run)
    assert names(history) == ["Failed", "AwaitingRetry"] * 3 + ["Failed"]
    assert site.counted("hopeless", "retry", "done") == 3
    begun = time.monotonic()
    site.exporter.wait_polled(at(history[-1]) + 3 * DELAY_SECONDS)
    assert site.seeder.read(run)["state"]["id"] == history[-1]["id"], "no fourth retry"
    show("hopeless/served", all_retries_within=at(history[-1]) - at(history[0]), watched=time.monotonic() - begun)


def test_downstream_is_paused_and_resumed_on_success(site: Site) -> None:
    failed = site.run("source/served")
    wait_until(lambda: site.is_paused("report/served"), PATIENCE, "a paused deployment", every=0.1)
    paused_at = time.time()
    (site.folder / "healed").touch()
    good = site.run("source/served")
    wait_until(lambda: not site.is_paused("report/served"), PATIENCE, "a resumed deployment", every=0.1)
    resumed_at = time.time()

    failure, success = (site.seeder.history(run)[-1] for run in (failed, good))
    assert (failure["type"], success["type"]) == ("FAILED", "COMPLETED")
    assert paused_at > at(failure)
    assert resumed_at > at(success), "not before the success"
    site.wait_state(site.run("report/served"), "COMPLETED")
    show("source/served", paused=paused_at - at(failure), resumed=resumed_at - at(success))


def test_a_pool_is_raised_while_a_run_is_long_and_restored(site: Site) -> None:
    first = site.run("long/worker")
    site.wait_state(first, "RUNNING")
    started_at = time.time()
    second = site.run("long/worker")  # has to wait: the pool has one slot
    wait_until(lambda: site.slots() == 2, PATIENCE, "a raised limit", every=0.1)
    raised_at = time.time()
    site.wait_state(second, "RUNNING")
    beside_at = time.time()
    (site.folder / "may-end").touch()
    for run in (first, second):
        site.wait_state(run, "COMPLETED")
    ended_at = time.time()
    wait_until(lambda: site.slots() == 1, PATIENCE, "the old limit", every=0.1)

    assert raised_at > started_at + 1
    show(
        "long/worker",
        raised=raised_at - started_at,
        second_run_beside_it=beside_at - started_at,
        restored=time.time() - ended_at,
    )


def test_a_late_run_is_cancelled_and_never_runs(site: Site) -> None:
    site.wait_state(site.late_run, "CANCELLED", timeout=180)
    skipped = site.seeder.read(site.late_run)
    expected = datetime.fromisoformat(skipped["expected_start_time"]).timestamp()
    assert at(skipped["state"]) - expected >= 60
    assert skipped["run_count"] == 0

    site.seeder.pause(work_pool="wide", work_queue="later", paused=False)
    site.wait_state(site.run("late/worker"), "COMPLETED")
    assert (site.folder / "late-runs").read_text() == "started\n", "the younger run alone"
    assert site.seeder.read(site.late_run)["state_type"] == "CANCELLED"
    show("late/worker", skipped_after=at(skipped["state"]) - expected)
