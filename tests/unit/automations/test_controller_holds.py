"""Pausing downstream, raising limits, skipping late runs: with the model of the server."""

from __future__ import annotations

from dataclasses import replace

import pytest

from prefect_monitoring.model.actions import STOPPED_BY_HAND
from prefect_monitoring.model.records import WorkPool
from prefect_monitoring.prefect_api.errors import ApiError
from unit.acting_process import OFF, ActingProcess, Begin
from unit.fake_actions import LOSE_ANSWER, LOSE_REQUEST, THROTTLE
from unit.fake_prefect import FakePrefect

PAUSE = "{flow: etl, on_failure: {pause: [report/daily], resume_on_success: true}}"
SCALE = "{flow: etl, scale: {when_running_longer_than: 30m, work_pool: process, concurrency: 10, back_after: 30m}}"
SKIP = "{flow: etl, skip: {when_later_than: 2h}}"


def rules(*entries: str) -> str:
    return f"pipelines: [{', '.join(entries)}]"


@pytest.fixture
def report(fake: FakePrefect) -> str:
    deployment = fake.add_deployment("daily", fake.add_flow("report"))
    fake.deployment_names[deployment] = replace(fake.deployment_names[deployment], paused=False)
    return deployment


async def _begin(begin: Begin, *entries: str) -> ActingProcess:
    process = begin(rules(*entries))
    await process.begin()
    return process


def _complete(fake: FakePrefect, place: tuple[str, str]) -> None:
    run = fake.schedule(*place)
    fake.start(run)
    fake.finish(run, 1.0)


def _kinds(process: ActingProcess) -> list[tuple[str, str]]:
    return [(kind, result) for kind, result, _ in process.results()]


# Pause downstream


async def test_downstream_is_paused_once_per_failure_and_resumed_on_the_next_success(
    begin: Begin, fake: FakePrefect, place: tuple[str, str], report: str
) -> None:
    process = await _begin(begin, PAUSE)
    process.fail(fake.schedule(*place))
    await process.act()
    await process.act()
    process.fail(fake.schedule(*place))
    await process.act()

    assert fake.actions.writes == [("pause", report)]
    assert process.deployment(report).paused is True
    _complete(fake, place)
    await process.act()
    await process.act()

    assert fake.actions.writes == [("pause", report), ("resume", report)]
    assert _kinds(process) == [("pause", "done"), ("resume", "done")]
    process.fail(fake.schedule(*place))
    await process.act()
    assert fake.actions.writes[2:] == [("pause", report)]


async def test_resume_by_hand_waits_for_a_snapshot_that_knows_what_is_retried(
    begin: Begin, fake: FakePrefect, place: tuple[str, str], report: str
) -> None:
    process = await _begin(begin, "{flow: etl, retry: {max: 1, delay: 1m}, on_failure: {pause: [report/daily]}}")
    process.ledger.change_acting(lambda acting: acting.stopped(fake.now, STOPPED_BY_HAND))
    process.fail(fake.schedule(*place))
    await process.poll()
    process.ledger.change_acting(lambda acting: acting.resumed(fake.now))
    await process.controller.act(process.last)

    assert process.deployment(report).paused is False
    await process.act()
    assert [kind for kind, _ in _kinds(process)] == ["retry"]


async def test_downstream_is_not_paused_for_a_failure_before_acting_was_enabled(
    begin: Begin, fake: FakePrefect, place: tuple[str, str], report: str
) -> None:
    process = begin(rules(PAUSE), mode=OFF)
    await process.begin()
    process.fail(fake.schedule(*place))
    await process.act()
    process = begin(rules(PAUSE))
    await process.act()
    assert (fake.actions.writes, process.actions()) == ([], [])

    process.fail(fake.schedule(*place))
    await process.act()
    assert fake.actions.writes == [("pause", report)]


async def test_downstream_is_not_paused_while_the_failed_run_awaits_a_retry(
    begin: Begin, fake: FakePrefect, place: tuple[str, str], report: str
) -> None:
    process = await _begin(begin, PAUSE.replace("{flow: etl,", "{flow: etl, retry: {max: 1},"))
    run = fake.schedule(*place)
    process.fail(run)
    await process.act()
    assert fake.actions.writes == [("retry", run)]

    process.fail(run)
    await process.act()
    assert fake.actions.writes == [("retry", run), ("pause", report)]


async def test_deployment_paused_by_hand_is_not_resumed(
    begin: Begin, fake: FakePrefect, place: tuple[str, str], report: str
) -> None:
    process = await _begin(begin, PAUSE)
    fake.deployment_names[report] = replace(fake.deployment_names[report], paused=True)
    process.fail(fake.schedule(*place))
    await process.act()
    _complete(fake, place)
    await process.act()

    assert process.results() == [
        ("pause", "refused", "report/daily was paused already, and not by the exporter"),
    ]
    assert fake.actions.writes == []


async def test_manual_resume_is_kept_until_the_pipeline_completes(
    begin: Begin, fake: FakePrefect, place: tuple[str, str], report: str
) -> None:
    process = await _begin(begin, PAUSE)
    process.fail(fake.schedule(*place))
    await process.act()
    fake.deployment_names[report] = replace(fake.deployment_names[report], paused=False)
    await process.act(after=61)
    process.fail(fake.schedule(*place))
    await process.act()
    assert fake.actions.writes == [("pause", report)]

    fake.deployment_names[report] = replace(fake.deployment_names[report], paused=True)
    _complete(fake, place)
    await process.act()
    assert fake.actions.writes == [("pause", report)]
    process.fail(fake.schedule(*place))
    await process.act()
    assert _kinds(process)[-1] == ("pause", "refused")


async def test_deployment_paused_by_two_pipelines_is_resumed_after_both_complete(
    begin: Begin, fake: FakePrefect, place: tuple[str, str], report: str
) -> None:
    flow = fake.add_flow("crm")
    other = (flow, fake.add_deployment("daily", flow))
    process = await _begin(begin, PAUSE, PAUSE.replace("etl", "crm"))
    process.fail(fake.schedule(*place))
    process.fail(fake.schedule(*other))
    await process.act()
    _complete(fake, place)
    await process.act()
    assert fake.actions.writes == [("pause", report)]

    _complete(fake, other)
    await process.act()
    assert fake.actions.writes == [("pause", report), ("resume", report)]


async def test_deployment_paused_by_two_pipelines_is_resumed_when_both_complete_between_polls(
    begin: Begin, fake: FakePrefect, place: tuple[str, str], report: str
) -> None:
    flow = fake.add_flow("crm")
    other = (flow, fake.add_deployment("daily", flow))
    process = await _begin(begin, PAUSE, PAUSE.replace("etl", "crm"))
    process.fail(fake.schedule(*place))
    process.fail(fake.schedule(*other))
    await process.act()
    _complete(fake, place)
    _complete(fake, other)
    await process.act()

    assert fake.actions.writes == [("pause", report), ("resume", report)]


async def test_pause_with_a_long_unknown_result_is_still_undone(
    begin: Begin, fake: FakePrefect, place: tuple[str, str], report: str
) -> None:
    process = await _begin(begin, PAUSE)
    process.fail(fake.schedule(*place))
    fake.actions.faults.append(LOSE_ANSWER)
    await process.act()
    fake.broken["deployments"] = ApiError("no answer", "503")
    await process.act(after=301)
    await process.act(after=301)
    fake.broken.clear()
    await process.act()
    assert _kinds(process) == [("pause", "done")]

    _complete(fake, place)
    await process.act()
    assert process.deployment(report).paused is False


async def test_pause_unanswered_at_the_deadline_is_still_undone(
    begin: Begin, fake: FakePrefect, place: tuple[str, str], report: str
) -> None:
    process = await _begin(begin, PAUSE)
    process.fail(fake.schedule(*place))
    fake.actions.faults.extend([THROTTLE, LOSE_ANSWER])

    def pass_time() -> None:
        fake.now += 10

    fake.actions.after_write = pass_time
    await process.act()
    await process.act(after=299)
    await process.act()
    assert _kinds(process) == [("pause", "done")]

    _complete(fake, place)
    await process.act()
    assert process.deployment(report).paused is False


async def test_failure_during_a_pause_with_unknown_result_does_not_pause_twice(
    begin: Begin, fake: FakePrefect, place: tuple[str, str], report: str
) -> None:
    process = await _begin(begin, PAUSE)
    process.fail(fake.schedule(*place))
    fake.actions.faults.append(LOSE_ANSWER)
    await process.act()
    process.fail(fake.schedule(*place))
    await process.act()

    assert _kinds(process) == [("pause", "done")]
    _complete(fake, place)
    await process.act()
    assert process.deployment(report).paused is False


@pytest.mark.parametrize("fault", [LOSE_ANSWER, LOSE_REQUEST])
async def test_pause_with_unknown_result_is_settled_by_reading_the_deployment(
    begin: Begin, fake: FakePrefect, place: tuple[str, str], report: str, fault: str
) -> None:
    process = await _begin(begin, PAUSE)
    process.fail(fake.schedule(*place))
    fake.actions.faults.append(fault)
    await process.act()
    process = begin(rules(PAUSE))
    await process.act()

    assert _kinds(process) == [("pause", "done")]
    _complete(fake, place)
    await process.act()
    assert process.deployment(report).paused is False


async def test_missing_downstream_is_refused_once(begin: Begin, fake: FakePrefect, place: tuple[str, str]) -> None:
    process = await _begin(begin, PAUSE)
    process.fail(fake.schedule(*place))
    await process.act()
    await process.act()

    assert process.results() == [("pause", "refused", "report/daily does not exist")]


async def test_downstream_deleted_while_it_is_paused_is_forgotten(
    begin: Begin, fake: FakePrefect, place: tuple[str, str], report: str
) -> None:
    process = await _begin(begin, PAUSE)
    process.fail(fake.schedule(*place))
    await process.act()
    fake.delete_deployment(report)
    await process.act(after=61)
    _complete(fake, place)
    await process.act()

    assert fake.actions.writes == [("pause", report)]
    assert _kinds(process) == [("pause", "done")]


# Scale


def _pool(fake: FakePrefect, slots: int | None) -> None:
    fake.inventory.pools = [WorkPool("process", "process", paused=False, ready=True, slots=slots, slots_used=None)]


def _slots(fake: FakePrefect) -> int | None:
    return fake.inventory.pools[0].slots


async def test_pool_limit_is_raised_during_a_long_run_and_restored_after(
    begin: Begin, fake: FakePrefect, place: tuple[str, str]
) -> None:
    _pool(fake, 4)
    process = await _begin(begin, SCALE)
    run = fake.schedule(*place)
    fake.start(run)
    await process.act(after=1790)
    assert _slots(fake) == 4
    await process.act(after=30)
    await process.act(after=600)
    assert _slots(fake) == 10

    fake.finish(run)
    await process.act(after=1700)
    assert _slots(fake) == 10
    await process.act(after=200)
    await process.act()
    assert _slots(fake) == 4
    assert _kinds(process) == [("scale_up", "done"), ("scale_down", "done")]


@pytest.mark.parametrize("by_hand", [6, 20])
async def test_limit_changed_by_hand_is_kept(
    begin: Begin, fake: FakePrefect, place: tuple[str, str], by_hand: int
) -> None:
    _pool(fake, 4)
    process = await _begin(begin, SCALE)
    run = fake.schedule(*place)
    fake.start(run)
    await process.act(after=1900)
    _pool(fake, by_hand)
    await process.act()
    assert _slots(fake) == by_hand
    fake.finish(run)
    await process.act(after=1900)
    await process.act(after=1900)

    assert _slots(fake) == by_hand
    assert _kinds(process) == [("scale_up", "done")]


@pytest.mark.parametrize("slots", [10, 12, None])
async def test_pool_with_enough_slots_is_left_alone(
    begin: Begin, fake: FakePrefect, place: tuple[str, str], slots: int | None
) -> None:
    _pool(fake, slots)
    process = await _begin(begin, SCALE)
    fake.start(fake.schedule(*place))
    await process.act(after=1900)

    assert (_slots(fake), process.actions()) == (slots, [])


async def test_two_pipelines_on_one_pool_get_the_higher_limit_and_restore_the_original(
    begin: Begin, fake: FakePrefect, place: tuple[str, str]
) -> None:
    _pool(fake, 4)
    flow = fake.add_flow("crm")
    other = (flow, fake.add_deployment("daily", flow))
    greater = SCALE.replace("etl", "crm").replace("10", "15")
    process = await _begin(begin, SCALE, greater)
    first, second = fake.schedule(*place), fake.schedule(*other)
    fake.start(first)
    await process.act(after=1900)
    fake.start(second)
    await process.act(after=1900)
    assert _slots(fake) == 15

    fake.finish(second)
    await process.act(after=3600)
    assert _slots(fake) == 15
    fake.finish(first)
    await process.act(after=1900)
    assert _slots(fake) == 4
    assert fake.actions.writes == [("slots 10", "process"), ("slots 15", "process"), ("slots 4", "process")]


@pytest.mark.parametrize("fault", [LOSE_ANSWER, LOSE_REQUEST])
async def test_raise_with_unknown_result_is_settled_by_reading_the_pool(
    begin: Begin, fake: FakePrefect, place: tuple[str, str], fault: str
) -> None:
    _pool(fake, 4)
    process = await _begin(begin, SCALE)
    fake.start(fake.schedule(*place))
    fake.actions.faults.append(fault)
    await process.act(after=1900)
    await process.act()

    assert (_slots(fake), _kinds(process)) == (10, [("scale_up", "done")])


@pytest.mark.parametrize("fault", [THROTTLE, LOSE_ANSWER, LOSE_REQUEST])
async def test_limit_set_by_hand_during_a_pending_raise_is_restored(
    begin: Begin, fake: FakePrefect, place: tuple[str, str], fault: str
) -> None:
    _pool(fake, 4)
    process = await _begin(begin, SCALE)
    run = fake.schedule(*place)
    fake.start(run)
    fake.actions.faults.append(fault)
    await process.act(after=1900)
    _pool(fake, 6)
    await process.act()
    await process.act()
    assert _slots(fake) == 10

    fake.finish(run)
    await process.act(after=1900)
    assert _slots(fake) == 6


async def test_higher_raise_during_an_unknown_one_restores_the_original_limit(
    begin: Begin, fake: FakePrefect, place: tuple[str, str]
) -> None:
    _pool(fake, 4)
    flow = fake.add_flow("crm")
    other = (flow, fake.add_deployment("daily", flow))
    process = await _begin(begin, SCALE, SCALE.replace("etl", "crm").replace("10", "15"))
    first, second = fake.schedule(*place), fake.schedule(*other)
    fake.start(first)
    fake.now += 100
    fake.start(second)
    fake.actions.faults.append(LOSE_ANSWER)
    await process.act(after=1750)
    await process.act(after=100)
    await process.act()
    assert _slots(fake) == 15

    fake.finish(first)
    fake.finish(second)
    await process.act(after=1900)
    assert _slots(fake) == 4


async def test_deleted_pool_is_forgotten(begin: Begin, fake: FakePrefect, place: tuple[str, str]) -> None:
    _pool(fake, 4)
    process = await _begin(begin, SCALE)
    run = fake.schedule(*place)
    fake.start(run)
    await process.act(after=1900)
    fake.inventory.pools = []
    await process.act()
    fake.finish(run)
    await process.act(after=1900)

    assert _kinds(process) == [("scale_up", "done")]


# Skip


async def test_run_that_is_too_late_is_cancelled(begin: Begin, fake: FakePrefect, place: tuple[str, str]) -> None:
    process = await _begin(begin, SKIP)
    late = fake.schedule(*place, in_seconds=1.0)
    early = fake.schedule(*place, in_seconds=3600.0)
    fake.now += 100
    fake.set_state(late, "SCHEDULED", "Late")
    await process.act(after=7000)
    assert fake.actions.writes == []
    await process.act(after=200)

    assert [state.name for state in fake.runs[late].states] == ["Scheduled", "Late", "Cancelled"]
    assert fake.runs[early].state.name == "Scheduled"
    assert _kinds(process) == [("skip", "done")]


@pytest.mark.parametrize("fault", [LOSE_ANSWER, LOSE_REQUEST])
async def test_skip_with_unknown_result_is_settled_by_reading_the_run(
    begin: Begin, fake: FakePrefect, place: tuple[str, str], fault: str
) -> None:
    process = await _begin(begin, SKIP)
    run = fake.schedule(*place, in_seconds=1.0)
    fake.actions.faults.append(fault)
    await process.act(after=8000)
    await process.act()

    assert fake.runs[run].state.name == "Cancelled"
    assert _kinds(process) == [("skip", "done")]


async def test_late_runs_without_a_rule_are_not_listed(
    begin: Begin, fake: FakePrefect, place: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """There may be very many; of those with a rule, a limited number is ended per round."""
    monkeypatch.setattr("prefect_monitoring.automations.world.MOST_OVERDUE", 1)
    fake.page_limit = 2
    other = fake.add_flow("other")
    other_deployment = fake.add_deployment("daily", other)
    process = await _begin(begin, SKIP)
    runs = [fake.schedule(*place, in_seconds=1.0) for _ in range(3)]
    left = [fake.schedule(other, other_deployment, in_seconds=1.0) for _ in range(30)]
    await process.poll(after=8000)
    fake.requests.clear()
    await process.controller.act(process.last)
    assert fake.requests["overdue_runs"] == 1
    await process.act()
    assert [fake.runs[run].state.name for run in runs] == ["Cancelled"] * 3
    assert {fake.runs[run].state.name for run in left} == {"Scheduled"}


async def test_request_refused_because_its_pool_is_deleted_is_final(
    begin: Begin, fake: FakePrefect, place: tuple[str, str]
) -> None:
    _pool(fake, 4)
    process = await _begin(begin, SCALE)
    fake.start(fake.schedule(*place))
    fake.actions.faults.append(THROTTLE)
    await process.act(after=1900)
    fake.inventory.pools = []
    await process.act()

    assert process.results() == [("scale_up", "refused", "the work pool process does not exist any more")]


async def test_run_due_before_acting_was_enabled_is_left_alone(
    begin: Begin, fake: FakePrefect, place: tuple[str, str]
) -> None:
    fake.schedule(*place)
    fake.now += 1
    process = await _begin(begin, SKIP)
    await process.act(after=8000)

    assert process.actions() == []


async def test_run_that_starts_before_the_request_is_left_alone(
    begin: Begin, fake: FakePrefect, place: tuple[str, str]
) -> None:
    process = await _begin(begin, SKIP)
    run = fake.schedule(*place, in_seconds=1.0)
    await process.poll(after=8000)

    def start(endpoint: str) -> None:
        if endpoint == "flow_runs" and fake.runs[run].state.name == "Scheduled":
            fake.start(run)

    fake.before_request = start
    await process.controller.act(process.last)

    assert process.results() == [("skip", "refused", "the run is Running by now")]


async def test_run_awaiting_a_retry_is_not_skipped(begin: Begin, fake: FakePrefect, place: tuple[str, str]) -> None:
    process = await _begin(begin, SKIP)
    run = fake.schedule(*place, in_seconds=1.0)
    fake.now += 10
    process.fail(run)
    fake.set_state(run, "SCHEDULED")
    await process.act(after=8000)

    assert process.actions() == []
