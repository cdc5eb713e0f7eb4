"""Prefect accepts a request of the controller and never answers (over HTTP); polls and scrapes continue."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

import pytest
from prefect.settings import PREFECT_API_REQUEST_TIMEOUT, PREFECT_API_URL, temporary_settings

from prefect_monitoring.automations.controller import Controller
from prefect_monitoring.model.actions import ActionResult
from prefect_monitoring.prefect_api.actions import ACT_ON_RUNS, ActionsApi
from prefect_monitoring.prefect_api.client import PrefectHttp, Traffic, open_http
from prefect_monitoring.prefect_api.pagination import iso
from prefect_monitoring.runtime.publisher import Publisher
from prefect_monitoring.snapshot.model import Snapshot
from unit.acting_process import ActingProcess, Begin
from unit.fake_prefect import FakePrefect
from unit.loopback import Answer, Asked, Loopback

RULES = "pipelines: [{flow: etl, retry: {max: 3, delay: 1m, jitter: 0%}}]"
TIMEOUT_SECONDS = 3.0


@dataclass
class HungServer:
    """Serves the API for actions on `fake`. The first state change is carried out or not, and never answered."""

    fake: FakePrefect
    carries_out: bool
    asked: int = 0
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, asked: Asked) -> Answer:
        if asked.path.startswith("/api/flow_run_states"):
            (run_id,) = self.fake.runs
            return Answer(body=[self._row(state.id) for state in self.fake.runs[run_id].states])
        if not asked.path.endswith("/set_state"):
            return Answer(body={})
        self.asked += 1
        if self.asked > 1 or self.carries_out:
            run_id = asked.path.split("/")[-2]
            details = asked.body["state"]["state_details"]
            self.fake.actions._set_state(run_id, "SCHEDULED", "AwaitingRetry", details["transition_id"])
        if self.asked == 1:
            self.arrived.set()
            await self.over.wait()
        return Answer(body={"status": "ACCEPT", "state": {"type": "SCHEDULED"}})

    def _row(self, state_id: str) -> dict[str, object]:
        (state,) = (state for run in self.fake.runs.values() for state in run.states if state.id == state_id)
        details = {"transition_id": self.fake.actions.transitions.get(state_id)}
        row = {"id": state.id, "type": state.type, "name": state.name, "timestamp": iso(state.at)}
        return {**row, "state_details": details}


@pytest.fixture
async def http(site: Loopback, traffic: Traffic) -> AsyncIterator[PrefectHttp]:
    with temporary_settings({PREFECT_API_URL: site.url, PREFECT_API_REQUEST_TIMEOUT: TIMEOUT_SECONDS}):
        async with open_http(traffic, 100, ACT_ON_RUNS) as client:
            yield client


@pytest.mark.parametrize("carries_out", [True, False])
async def test_hung_request_delays_no_poll_or_scrape_and_is_settled_by_reading_the_run(
    begin: Begin, fake: FakePrefect, place: tuple[str, str], site: Loopback, http: PrefectHttp, *, carries_out: bool
) -> None:
    process: ActingProcess = begin(RULES)
    await process.begin()
    process.fail(fake.schedule(*place))
    server = HungServer(fake, carries_out)
    site.answer = server.answer
    world = replace(process.world, actions=ActionsApi(http))  # type: ignore[arg-type]
    controller = Controller(process.readers.flow_runs, process.planner, world, fake.clock)
    scraped: list[Snapshot] = []
    rounds = 0

    async def results() -> list[ActionResult]:
        actions = await process.readers.flow_runs.in_ledger(process.actions)
        return [action.result for action in actions]

    async def show(snapshot: Snapshot) -> None:
        scraped.append(snapshot)

    async def act(snapshot: Snapshot) -> None:
        nonlocal rounds
        await controller.act(snapshot)
        rounds += 1

    publisher = Publisher()
    publisher.subscribe("web", show, awaited=True)
    publisher.subscribe("controller", act)
    await publisher.publish(await process.poll())
    await server.arrived.wait()
    for _ in range(3):
        snapshot = await process.poll()
        await publisher.publish(snapshot)
        assert scraped[-1] is snapshot
    assert rounds == 0, "the request is still pending"
    assert await results() == [ActionResult.SENT], "recorded before it was sent"

    while await results() != [ActionResult.DONE]:
        await publisher.publish(await process.poll(after=1.0))
        await asyncio.sleep(0.05)
    server.over.set()
    await publisher.stop()
    assert server.asked == (1 if carries_out else 2)
    (run,) = fake.runs.values()
    assert [state.name for state in run.states].count("AwaitingRetry") == 1
