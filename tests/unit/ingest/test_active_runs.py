"""Too many late runs to list: they are counted in groups over several polls, and shown values stay meanwhile."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from prefect_monitoring.counting.late_runs import MARGIN_SECONDS
from prefect_monitoring.ingest import active_runs
from prefect_monitoring.ingest.flow_runs import Reader
from prefect_monitoring.model.records import Pipeline, State
from prefect_monitoring.prefect_api.errors import ApiError
from prefect_monitoring.snapshot.builder import summarise_active, with_late
from prefect_monitoring.snapshot.model import ActiveRuns
from unit.fake_prefect import FakePrefect

MANY = 60
DOWN = ApiError("the API answered 503", "503")


@pytest.fixture(autouse=True)
def _few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(active_runs, "MANY_RUNS", MANY)
    monkeypatch.setattr(active_runs, "FEW_RUNS", 10)


def late(fake: FakePrefect, flow: str, deployment: str | None, number: int, *, since: float = 7200.0) -> list[str]:
    runs = [fake.schedule(flow, deployment, in_seconds=second - since) for second in range(number)]
    for run in runs[::2]:  # the server still has the other half as Scheduled
        fake.runs[run].states[-1] = State(fake.new_id(), "SCHEDULED", "Late", fake.now, "")
    return runs


def shown(reader: Reader) -> ActiveRuns:
    assert reader.under_way is not None
    return with_late(summarise_active(reader.under_way.runs.values()), reader.under_way.late)


@pytest.fixture
async def crowd(fake: FakePrefect, reader: Reader) -> dict[Pipeline, int]:
    """Late runs by pipeline: very many of a few deployments, some of others, and those of a flow without deployment."""
    numbers = {"stuck": 300, "slow": 45, "some": 7, "fine": 0, "a-few": 9}
    flow = fake.add_flow("etl")
    for name, number in numbers.items():
        late(fake, flow, fake.add_deployment(name, flow), number)
    late(fake, fake.add_flow("ad-hoc"), None, 25)
    await reader.read_flows()
    await reader.read_deployments()
    await reader.create_zero_born_series()
    return {Pipeline("etl", name): number for name, number in numbers.items() if number} | {Pipeline("ad-hoc", ""): 25}


def by_pipeline(active: ActiveRuns) -> dict[Pipeline, int]:
    totals: Counter[Pipeline] = Counter()
    for (pipeline, _, state), number in active.counts.items():
        if state == "late":
            totals[pipeline] += number
    return dict(totals)


async def test_many_late_runs_are_counted_instead_of_listed(
    fake: FakePrefect, reader: Reader, crowd: dict[Pipeline, int]
) -> None:
    running = fake.schedule(*place_of(fake))
    fake.start(running)
    reading = await reader.read_under_way()
    active = shown(reader)
    assert reading.complete
    assert by_pipeline(active) == crowd
    assert active.late_by_queue["process", ""] == sum(crowd.values()) - 25
    assert active.oldest[Pipeline("etl", "stuck"), "late"] == min(run.expected for run in fake.runs.values())
    assert reader.under_way is not None
    assert list(reader.under_way.runs) == [running], "the others are no longer kept individually"
    fake.requests.clear()
    await reader.read_under_way()
    assert fake.requests["active_runs"] == 1
    assert fake.requests.total() < 40


def place_of(fake: FakePrefect) -> tuple[str, str]:
    deployment = next(iter(fake.deployment_names.values()))
    return deployment.flow_id, deployment.id


async def test_count_over_several_polls_keeps_the_shown_values(
    fake: FakePrefect, reader: Reader, crowd: dict[Pipeline, int]
) -> None:
    polls = 0
    while not (await reader.read_under_way(budget=0.0)).complete:
        polls += 1
        assert reader.under_way is None, "nothing was known before"
    assert polls > 5
    assert by_pipeline(shown(reader)) == crowd
    late(fake, *place_of(fake), 50)
    running = fake.schedule(*place_of(fake))
    fake.start(running)
    while not (await reader.read_under_way(budget=0.0)).complete:
        assert by_pipeline(shown(reader)) == crowd, "the last complete count"
        assert shown(reader).counts[Pipeline("etl", "stuck"), "process", "running"] == 1, "what is listed is new"
    assert by_pipeline(shown(reader)) == crowd | {Pipeline("etl", "stuck"): 350}


async def test_listed_runs_stay_until_they_are_counted(fake: FakePrefect, reader: Reader) -> None:
    flow = fake.add_flow("etl")
    deployment = fake.add_deployment("daily", flow)
    late(fake, flow, deployment, 20)
    await reader.read_flows()
    await reader.read_deployments()
    await reader.read_under_way()
    late(fake, flow, deployment, 100)
    other = fake.add_deployment("hourly", flow)
    late(fake, flow, other, 100)
    await reader.read_deployments()
    assert not (await reader.read_under_way(budget=0.0)).complete
    assert by_pipeline(shown(reader)) == {Pipeline("etl", "daily"): 20}
    while not (await reader.read_under_way(budget=0.0)).complete:
        pass
    assert by_pipeline(shown(reader)) == {Pipeline("etl", "daily"): 120, Pipeline("etl", "hourly"): 100}


async def test_list_that_takes_too_long_is_counted_instead(
    fake: FakePrefect, reader: Reader, crowd: dict[Pipeline, int]
) -> None:
    """Its reading is cancelled by the source's timeout, as each further one would be."""
    asked: list[str] = []

    def cancel_lists(endpoint: str) -> None:
        asked.append(endpoint)
        if endpoint == "active_runs" and "count_overdue" not in asked:
            raise asyncio.CancelledError

    fake.before_request = cancel_lists
    with pytest.raises(asyncio.CancelledError):
        await reader.read_under_way()
    assert (await reader.read_under_way()).complete
    assert by_pipeline(shown(reader)) == crowd


async def test_fault_between_polls_loses_no_group(
    fake: FakePrefect, reader: Reader, crowd: dict[Pipeline, int]
) -> None:
    left = 9

    def break_now_and_then(endpoint: str) -> None:
        nonlocal left
        left -= 1
        if endpoint in {"count_overdue", "overdue_runs", "longest_overdue"} and left % 9 == 0:
            raise DOWN

    fake.before_request = break_now_and_then
    complete = False
    for _ in range(100):
        try:
            complete = (await reader.read_under_way()).complete
        except ApiError:
            continue
        break
    assert complete
    assert by_pipeline(shown(reader)) == crowd


async def test_runs_are_listed_again_once_they_are_few(
    fake: FakePrefect, reader: Reader, crowd: dict[Pipeline, int]
) -> None:
    await reader.read_under_way()
    kept = [run for run in fake.runs if fake.runs[run].flow_id == place_of(fake)[0]][-3:]
    fake.runs = {run: fake.runs[run] for run in kept}
    fake.now += MARGIN_SECONDS
    await reader.read_under_way()
    assert reader.under_way is not None
    assert set(reader.under_way.runs) == set(kept)
    assert not reader.under_way.late
    fake.requests.clear()
    await reader.read_under_way()
    assert fake.requests["count_overdue"] == 0


async def test_many_running_runs_are_all_listed(fake: FakePrefect, reader: Reader) -> None:
    flow = fake.add_flow("etl")
    deployment = fake.add_deployment("daily", flow)
    for _ in range(MANY + 200):
        fake.start(fake.schedule(flow, deployment))
    for _ in range(2):
        await reader.read_under_way()
        assert shown(reader).counts == {(Pipeline("etl", "daily"), "process", "running"): MANY + 200}
        assert reader.under_way is not None
        assert reader.under_way.slots_used == {("process", ""): MANY + 200}
