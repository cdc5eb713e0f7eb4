"""Deploying the example flows on their own: all of them, and only to the demo's server."""

from __future__ import annotations

import json

import httpx
import pytest

from prefect_monitoring.demo import flows
from prefect_monitoring.demo.processes import DemoError
from prefect_monitoring.demo.schedule import EXAMPLES, POOL_SLOTS, POOL_WITHOUT_WORKER, WORKER_POOL

URL = "http://prefect:4200/api"


class Server:
    def __init__(self, *known: str) -> None:
        self.known = known
        self.unfinished = [{"id": "scheduled", "run_count": 0}, {"id": "running", "run_count": 1}]
        self.asked: list[tuple[str, str, object]] = []

    def answer(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/api")
        body = json.loads(request.content) if request.content else None
        self.asked.append((request.method, path, body))
        if path == "/flows/filter":
            return httpx.Response(200, json=[{"name": name} for name in self.known])
        if path == "/flow_runs/filter":
            return httpx.Response(200, json=self.unfinished)
        return httpx.Response(200, json={"id": "f"})

    def names(self, path: str) -> set[str]:
        return {body["name"] for _, asked, body in self.asked if asked == path and isinstance(body, dict)}

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=URL, transport=httpx.MockTransport(self.answer))


def test_pools_flows_and_deployments_are_made_and_leftovers_settled() -> None:
    server = Server(EXAMPLES[0].flow)  # a demo was here before
    flows.deploy_flows(server.client())
    assert server.names("/work_pools/") == {WORKER_POOL, POOL_WITHOUT_WORKER}
    assert server.names("/flows/") == {example.flow for example in EXAMPLES}
    assert sum(path == "/deployments/" for _, path, _ in server.asked) == len(EXAMPLES)
    assert ("DELETE", "/flow_runs/scheduled", None) in server.asked
    assert any(path == "/flow_runs/running/set_state" for _, path, _ in server.asked)


def test_scaled_pool_has_a_limit() -> None:
    server = Server()
    flows.deploy_flows(server.client())
    pools = [body for _, path, body in server.asked if path == "/work_pools/" and isinstance(body, dict)]
    assert {pool["name"]: pool["concurrency_limit"] for pool in pools} == {
        WORKER_POOL: POOL_SLOTS[WORKER_POOL],
        POOL_WITHOUT_WORKER: None,
    }


def test_server_of_the_user_is_left_alone() -> None:
    server = Server(EXAMPLES[0].flow, "payroll")
    with pytest.raises(DemoError, match="is not the demo's server: it knows payroll"):
        flows.deploy_flows(server.client())
    assert [path for _, path, _ in server.asked] == ["/health", "/flows/filter"]


def test_command_error_is_reported(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(flows, "_SERVER_TIMEOUT", 0)
    assert flows.main([URL]) == 1
    assert capsys.readouterr().err == f"{URL}/ did not answer within 0 s\n"


def test_command_needs_an_address(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        flows.main([])
    assert "url" in capsys.readouterr().err
