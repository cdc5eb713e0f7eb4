"""Each rule from its cause to its effect, on a real Prefect server; the API plays the workers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import httpx
import pytest

from support.exporter import Exporter, start_exporter
from support.prefect_server import PrefectServer, env_for, start_server
from support.processes import wait_until

RULES = """
pipelines:
  - flow: etl
    deployment: daily
    retry: {max: 2, delay: 5m, jitter: 0%, not_causes: [code]}
    on_failure: {pause: [report/daily], resume_on_success: true}
    skip: {when_later_than: 1m}
  - flow: long
    scale: {when_running_longer_than: 1s, work_pool: data, concurrency: 9, back_after: 1s}
"""


class Prefect:
    """The server as users and workers see it."""

    def __init__(self, server: PrefectServer) -> None:
        self.http = httpx.Client(base_url=server.url, timeout=30)

    def post(self, path: str, **body: object) -> Any:
        answer = wait_until(lambda: self._posted(path, body), 30, "a server whose database is not busy")
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def _posted(self, path: str, body: dict[str, object]) -> httpx.Response | None:
        answer = self.http.post(path, json=body)
        return None if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE else answer

    def get(self, path: str) -> Any:
        answer = self.http.get(path)
        answer.raise_for_status()
        return answer.json()

    def deploy(self, flow: str) -> str:
        flow_id = self.post("/flows/", name=flow)["id"]
        return str(self.post("/deployments/", name="daily", flow_id=flow_id, work_pool_name="data")["id"])

    def run(self, deployment: str) -> str:
        return str(self.post(f"/deployments/{deployment}/create_flow_run", state={"type": "SCHEDULED"})["id"])

    def set_state(self, run: str, state_type: str, message: str = "") -> None:
        self.post(f"/flow_runs/{run}/set_state", state={"type": state_type, "message": message})

    def play(self, run: str, end: str, message: str = "connection refused") -> None:
        for state_type in ("PENDING", "RUNNING", end):
            self.set_state(run, state_type, message)

    def state(self, run: str) -> dict[str, Any]:
        return dict(self.get(f"/flow_runs/{run}")["state"])

    def retries(self, run: str) -> int:
        states = self.http.get("/flow_run_states/", params={"flow_run_id": run}).json()
        return sum(state["name"] == "AwaitingRetry" for state in states)

    def slots(self) -> int:
        return int(self.get("/work_pools/data")["concurrency_limit"])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    with start_server(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="module")
def prefect(server: PrefectServer) -> Prefect:
    prefect = Prefect(server)
    prefect.post("/work_pools/", name="data", type="process", concurrency_limit=3)
    return prefect


@pytest.fixture(scope="module")
def deployments(prefect: Prefect) -> dict[str, str]:
    return {flow: prefect.deploy(flow) for flow in ("etl", "report", "long")}


@pytest.fixture(scope="module")
def exporter(
    server: PrefectServer, deployments: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Exporter]:
    folder = tmp_path_factory.mktemp("exporter")
    (folder / "pipelines.yml").write_text(RULES)
    with start_exporter(env_for(server), folder, "--act", "--pipelines", str(folder / "pipelines.yml")) as running:
        running.wait_ready()
        wait_until(lambda: _value(running, "prefect_exporter_acting") == 1, 30, "an exporter that acts")
        wait_until(lambda: _value(running, "prefect_pipeline_retries_max") == 2, 30, "the rules of its deployments")
        yield running


def _value(exporter: Exporter, name: str, **labels: str) -> float | None:
    found = [
        value for (one, has), value in exporter.samples.items() if one == name and labels.items() <= dict(has).items()
    ]
    return found[0] if found else None


def _count(exporter: Exporter, action: str, result: str) -> float | None:
    return _value(exporter, "prefect_exporter_actions_total", action=action, result=result, flow="etl")


def _wait(condition: Callable[[], object], what: str) -> None:
    wait_until(condition, 120, what)


def test_a_failed_run_is_retried_max_times_and_then_its_downstream_is_paused(
    exporter: Exporter, prefect: Prefect, deployments: dict[str, str]
) -> None:
    run = prefect.run(deployments["etl"])
    for attempt in (1, 2):
        failed_at = time.time()
        prefect.play(run, "FAILED")
        _wait(lambda: prefect.state(run)["name"] == "AwaitingRetry", f"retry {attempt}")
        state = prefect.state(run)
        due = state["state_details"]["scheduled_time"]
        assert state["message"].startswith(f"Retry {attempt} of 2 by prefect-monitoring")
        assert 290 < _epoch(due) - failed_at < 310
        assert _value(exporter, "prefect_flow_run_consecutive_failures", flow="etl", deployment="daily") == 0
    prefect.play(run, "CRASHED")

    _wait(lambda: prefect.get(f"/deployments/{deployments['report']}")["paused"], "a paused deployment")
    assert prefect.state(run)["name"] == "Crashed"
    assert prefect.retries(run) == 2
    _wait(
        lambda: _value(exporter, "prefect_flow_run_last_failure_retries", flow="etl") == 2, "the retries in the metrics"
    )
    _wait(lambda: _count(exporter, "retry", "exhausted") == 1, "a counter past its birth hold")
    assert _value(exporter, "prefect_exporter_downstream_paused_timestamp_seconds", flow="report") is not None

    again = prefect.run(deployments["etl"])
    prefect.play(again, "COMPLETED")
    _wait(lambda: not prefect.get(f"/deployments/{deployments['report']}")["paused"], "a resumed deployment")


def test_an_action_is_an_event_of_its_run(exporter: Exporter, prefect: Prefect, deployments: dict[str, str]) -> None:
    run = prefect.run(deployments["etl"])
    prefect.play(run, "FAILED")
    _wait(lambda: prefect.state(run)["name"] == "AwaitingRetry", "a retry")

    def events() -> list[str]:
        since, until = "2026-01-01T00:00:00Z", "2100-01-01T00:00:00Z"
        found = prefect.post(
            "/events/filter",
            filter={"occurred": {"since": since, "until": until}, "resource": {"id": [f"prefect.flow-run.{run}"]}},
        )
        return [event["event"] for event in found["events"]]

    _wait(lambda: "prefect-monitoring.retry.done" in events(), "the event")
    assert events().count("prefect-monitoring.retry.done") == 1
    prefect.set_state(run, "CANCELLED")


def test_a_cause_that_is_excluded_is_not_retried_and_is_reported_at_once(
    exporter: Exporter, prefect: Prefect, deployments: dict[str, str]
) -> None:
    run = prefect.run(deployments["etl"])
    prefect.play(run, "FAILED", "KeyError: 'id'")

    _wait(lambda: _value(exporter, "prefect_flow_run_consecutive_failures", flow="etl") == 1, "a reported failure")
    assert prefect.retries(run) == 0
    done = prefect.run(deployments["etl"])
    prefect.play(done, "COMPLETED")


def test_a_pool_is_raised_while_a_run_takes_too_long_and_restored(
    exporter: Exporter, prefect: Prefect, deployments: dict[str, str]
) -> None:
    run = prefect.run(deployments["long"])
    prefect.set_state(run, "PENDING")
    prefect.set_state(run, "RUNNING")

    _wait(lambda: prefect.slots() == 9, "a raised limit")
    prefect.set_state(run, "COMPLETED")
    _wait(lambda: prefect.slots() == 3, "the old limit")


@pytest.mark.timeout(300)
def test_a_late_run_is_cancelled(exporter: Exporter, prefect: Prefect, deployments: dict[str, str]) -> None:
    run = prefect.run(deployments["etl"])

    wait_until(lambda: prefect.state(run)["type"] == "CANCELLED", 120, "a skipped run")
    _wait(lambda: _count(exporter, "skip", "done") == 1, "a counter past its birth hold")


def _epoch(instant: str) -> float:
    return datetime.fromisoformat(instant).timestamp()
