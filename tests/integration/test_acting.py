"""From a failure to its retry on a real server, with people and faults in between; the API plays the workers."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from support.exporter import Exporter, actions, start_exporter
from support.exposition import total
from support.prefect_server import PrefectServer, env_for
from support.processes import wait_until
from support.proxy import FaultProxy, Seen
from support.seeder import Seeder

PATIENCE = 120.0
RULES = """
pipelines:
  - flow: {prefix}etl
    retry: {{max: 2, delay: 5m, jitter: 0%, not_causes: [code]}}
    on_failure: {{pause: [{prefix}report/daily], resume_on_success: true}}
  - flow: {prefix}extract
    retry: {{max: 2, delay: 5m}}
  - flow: {prefix}long
    scale: {{when_running_longer_than: 1s, work_pool: {prefix}data, concurrency: 9, back_after: 1s}}
"""


@dataclass
class Site:
    """The flows of `prefix` on the shared server, and an exporter that acts on them through `proxy`."""

    prefix: str
    seeder: Seeder
    proxy: FaultProxy
    exporter: Exporter
    deployments: dict[str, str]  # ids, by flow
    ledger: Path

    def run(self, flow: str) -> str:
        flow_id = self.seeder.flow(self.prefix + flow)
        return self.seeder.run(flow_id, deployment_id=self.deployments[flow], state="Scheduled")

    def fail(self, run: str, message: str = "connection refused") -> None:
        self.seeder.failed(run, message)

    def state(self, run: str) -> dict[str, Any]:
        return dict(self.seeder.read(run)["state"])

    def wait_state(self, run: str, name: str) -> dict[str, Any]:
        wait_until(lambda: self.state(run)["name"] == name, PATIENCE, f"{name}, of {run}")
        return self.state(run)

    def value(self, name: str, flow: str, **labels: str) -> float:
        return total(self.exporter.samples, name, flow=self.prefix + flow, **labels)

    def counted(self, flow: str, action: str, result: str) -> float:
        return self.value("prefect_exporter_actions_total", flow, action=action, result=result)

    def wait_counted(self, expected: float, flow: str, action: str, result: str) -> None:
        what = f"{expected:g} times {action} {result} of {flow}"
        wait_until(lambda: self.counted(flow, action, result) == expected, PATIENCE, what)

    def failures(self, flow: str) -> float:
        return self.value("prefect_flow_run_consecutive_failures", flow)

    def is_paused(self, flow: str) -> bool:
        return bool(self.seeder.call("GET", f"/deployments/{self.deployments[flow]}")["paused"])

    def events(self, run: str) -> Counter[str]:
        criteria = {
            "occurred": {"since": "2020-01-01T00:00:00Z", "until": "2100-01-01T00:00:00Z"},
            "event": {"prefix": ["prefect-monitoring."]},
            "resource": {"id": [f"prefect.flow-run.{run}"]},
        }
        found = self.seeder.call("POST", "/events/filter", {"filter": criteria})["events"]
        return Counter(event["event"].removeprefix("prefect-monitoring.") for event in found)


@pytest.fixture(scope="module")
def running(server: PrefectServer, seeder: Seeder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder, prefix = tmp_path_factory.mktemp("exporter"), f"t{uuid4().hex[:8]}-"
    seeder.work_pool(f"{prefix}data", concurrency_limit=3)
    deployments = {
        flow: seeder.deployment(seeder.flow(prefix + flow), "daily", work_pool=f"{prefix}data")
        for flow in ("etl", "report", "extract", "long")
    }
    (folder / "pipelines.yml").write_text(RULES.format(prefix=prefix))
    options = ("--act", "--birth-hold", "1s", "--pipelines", str(folder / "pipelines.yml"))
    with FaultProxy(server.url) as proxy, start_exporter(env_for(server, url=proxy.url), folder, *options) as exporter:
        site = Site(prefix, seeder, proxy, exporter, deployments, folder / "ledger.db")
        wait_until(lambda: total(exporter.samples, "prefect_exporter_acting") == 1, PATIENCE, "an exporter that acts")
        wait_until(lambda: site.value("prefect_pipeline_retries_max", "etl") == 2, PATIENCE, "its rules")
        yield site


@pytest.fixture
def site(running: Site) -> Iterator[Site]:
    yield running
    running.proxy.clear()
    running.proxy.forget()


def retries(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [state for state in history if state["name"] == "AwaitingRetry"]


def epoch(instant: str) -> float:
    return datetime.fromisoformat(instant).timestamp()


def test_a_failed_run_is_retried_max_times_and_then_its_downstream_is_paused(site: Site) -> None:
    run = site.run("etl")
    for attempt in (1, 2):
        failed_at = time.time()
        site.fail(run)
        state = site.wait_state(run, "AwaitingRetry")
        assert state["message"].startswith(f"Retry {attempt} of 2 by prefect-monitoring")
        assert 290 < epoch(state["state_details"]["scheduled_time"]) - failed_at < 310
        assert site.failures("etl") == 0
        site.seeder.mark(run, "RUNNING")  # its worker would wait until the retry is due
    site.seeder.crashed(run, "out of memory")

    wait_until(lambda: site.is_paused("report"), PATIENCE, "a paused deployment")
    assert site.state(run)["name"] == "Crashed"
    assert len(retries(site.seeder.history(run))) == 2
    wait_until(lambda: site.value("prefect_flow_run_last_failure_retries", "etl") == 2, PATIENCE, "2 of 2 retries")
    site.wait_counted(1, "etl", "retry", "exhausted")
    paused_since = "prefect_exporter_downstream_paused_timestamp_seconds"
    wait_until(lambda: site.value(paused_since, "report") > 0, PATIENCE, "a metric of the pause")
    every_action = Counter({"retry.done": 2, "retry.exhausted": 1, "pause.done": 1})
    wait_until(lambda: site.events(run) == every_action, PATIENCE, "an event of each action")

    site.seeder.completed(site.run("etl"))
    wait_until(lambda: not site.is_paused("report"), PATIENCE, "a resumed deployment")


def test_a_cause_that_is_excluded_is_not_retried_and_is_reported_at_once(site: Site) -> None:
    run = site.run("etl")
    site.fail(run, "KeyError: 'id'")

    wait_until(lambda: site.failures("etl") == 1, PATIENCE, "a reported failure")
    assert retries(site.seeder.history(run)) == []
    site.seeder.completed(site.run("etl"))


def test_a_run_that_somebody_retries_in_between_is_theirs(site: Site) -> None:
    refused = site.counted("extract", "retry", "refused")
    unreadable = site.proxy.status(503, path="/flow_run_states")
    run = site.run("extract")
    site.fail(run)
    wait_until(lambda: unreadable.matched, PATIENCE, "an exporter that is about to retry it")
    site.seeder.retry_from_ui(run)
    site.proxy.clear()
    site.wait_counted(refused + 1, "extract", "retry", "refused")
    site.fail(run)  # what they retried fails as well

    site.wait_counted(refused + 2, "extract", "retry", "refused")
    assert [state["message"] for state in retries(site.seeder.history(run))] == ["Retry from the UI"]
    wait_until(lambda: site.failures("extract") == 1, PATIENCE, "a reported failure")
    site.seeder.completed(site.run("extract"))


def test_a_run_whose_deployment_is_deleted_in_between_is_refused(site: Site) -> None:
    refused = site.counted("extract", "retry", "refused")
    flow = site.seeder.flow(f"{site.prefix}extract")
    doomed = site.seeder.deployment(flow, "doomed")
    run = site.seeder.run(flow, deployment_id=doomed, state="Scheduled")
    unreadable = site.proxy.status(503, path="/flow_run_states")
    site.fail(run)
    wait_until(lambda: unreadable.matched, PATIENCE, "an exporter that is about to retry it")
    site.seeder.delete_deployment(doomed)
    site.proxy.clear()

    site.wait_counted(refused + 1, "extract", "retry", "refused")
    assert site.state(run)["name"] == "Failed"


def test_a_pool_that_is_deleted_while_it_is_raised_is_forgotten(site: Site) -> None:
    pool = f"/work_pools/{site.prefix}data"
    run = site.run("long")
    site.seeder.running(run)
    wait_until(lambda: site.seeder.call("GET", pool)["concurrency_limit"] == 9, PATIENCE, "a raised limit")

    site.seeder.call("DELETE", pool)
    site.exporter.wait_polled(time.time() + 1, PATIENCE)
    site.seeder.completed(run)
    site.exporter.wait_polled(time.time() + 3, PATIENCE)

    changes = {kind: site.counted("long", kind, "done") for kind in ("scale_up", "scale_down")}
    assert changes == {"scale_up": 1, "scale_down": 0}
    assert site.value("prefect_exporter_actions_total", "long", result="failed") == 0


def test_a_stop_is_shown_until_it_is_resumed(site: Site) -> None:
    def stopped() -> float:
        return total(site.exporter.samples, "prefect_exporter_actions_stopped_info")

    actions(site.ledger, "--stop")
    wait_until(lambda: stopped() == 1, PATIENCE, "a stop that is shown")
    assert total(site.exporter.samples, "prefect_exporter_acting") == 0
    actions(site.ledger, "--resume")
    wait_until(lambda: stopped() == 0, PATIENCE, "an exporter that goes on")


def asks_for(run: str) -> Callable[[Seen], bool]:
    return lambda seen: seen.json["flow_runs"] == {"id": {"any_": [run]}}


def old_answers(site: Site, run: str) -> None:
    """Whatever is asked about the run from now on, the answer is of now."""
    client = httpx.Client(base_url=site.seeder.client.base_url, timeout=30, trust_env=False)
    as_json = {"content-type": "application/json"}
    history = client.get("/flow_run_states/", params={"flow_run_id": run}).text
    runs = client.post("/flow_runs/filter", json={"flow_runs": {"id": {"any_": [run]}}}).text
    site.proxy.status(200, headers=as_json, body=history, path="/flow_run_states", when=lambda seen: run in seen.query)
    site.proxy.status(200, headers=as_json, body=runs, path="/flow_runs/filter", when=asks_for(run))


@pytest.mark.parametrize("lie", ["500", "no answer", "not JSON", "no answer, and stale reads"])
def test_a_run_is_retried_once_whatever_the_api_answers(site: Site, lie: str) -> None:
    done = site.counted("extract", "retry", "done")
    run = site.run("extract")
    request = f"/flow_runs/{run}/set_state"
    site.seeder.running(run)
    failing = site.proxy.status(500, path=request)  # nothing arrives, until the run is known as it is now
    site.fail(run)
    wait_until(lambda: failing.matched, PATIENCE, "a request for a retry")
    site.proxy.clear()
    if lie == "500":
        site.proxy.status(500, path=request, times=2)
    elif lie == "not JSON":
        site.proxy.invalid_json(path=request, times=1)
    else:
        site.proxy.truncate(path=request, times=1)  # carried out, and nobody knows
    if "stale" in lie:
        old_answers(site, run)

    site.wait_state(run, "AwaitingRetry")
    site.wait_counted(done + 1, "extract", "retry", "done")
    history = site.seeder.history(run)
    assert [state["name"] for state in history if state["type"] in ("SCHEDULED", "FAILED")] == [
        "Scheduled",
        "Failed",
        "AwaitingRetry",
    ]
    assert site.failures("extract") == 0
    asked = {
        seen.json["state"]["state_details"]["transition_id"] for seen in site.proxy.requests if seen.path == request
    }
    assert asked == {retries(history)[0]["state_details"]["transition_id"]}


def test_a_run_that_prefect_says_is_gone_is_reported_as_failed(site: Site) -> None:
    run = site.run("extract")
    gone = site.proxy.status(404, path=f"/flow_runs/{run}/set_state")
    site.fail(run)

    wait_until(lambda: site.failures("extract") == 1, PATIENCE, "a reported failure")
    site.exporter.wait_polled(time.time() + 2, PATIENCE)
    assert gone.matched == 1
    assert site.state(run)["name"] == "Failed"
    site.seeder.completed(site.run("extract"))
