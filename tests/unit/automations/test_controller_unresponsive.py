"""Runs that stop sending heartbeats are marked Crashed, against the model of the server."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from prefect_monitoring.automations.fuse import Fuse
from prefect_monitoring.model.counted_metrics import ACTIONS
from prefect_monitoring.prefect_api.errors import ApiError
from unit.acting_process import ACT, DRY_RUN, OFF, PIPELINE, ActingProcess, Begin
from unit.fake_actions import FORBID, LOSE_ANSWER, LOSE_REQUEST, THROTTLE
from unit.fake_prefect import FakePrefect

MARK = "pipelines: [{flow: etl, deployment: .*, unresponsive: {mark: crashed}}]"
RETRY = "pipelines: [{flow: etl, deployment: .*, unresponsive: {mark: crashed}, retry: {max: 2, delay: 1m}%s}]"
BEAT = 30.0


def _beat(fake: FakePrefect, *runs: str) -> None:
    for run in runs:
        fake.events.sent.setdefault(run, []).append(fake.now)


async def _running(fake: FakePrefect, process: ActingProcess, *places: tuple[str, ...]) -> list[str]:
    """Starts a run at each of `places`, each seen with two heartbeats."""
    runs = [fake.schedule(*place) for place in places]
    for run in runs:
        fake.start(run)
    for _ in range(2):
        _beat(fake, *runs)
        await process.poll(BEAT)
    return runs


async def _silence(process: ActingProcess, beats: int = 5) -> None:
    for _ in range(beats):
        await process.act(BEAT)


def _marks(process: ActingProcess) -> list[tuple[str, str]]:
    return [(result, reason) for kind, result, reason in process.results() if kind == "mark_crashed"]


async def test_run_that_stops_sending_heartbeats_is_marked_crashed_once(
    begin: Begin, fake: FakePrefect, place: tuple[str, str]
) -> None:
    process = begin(MARK)
    await process.begin()
    dead, alive = await _running(fake, process, place, place)
    for _ in range(6):
        _beat(fake, alive)
        await process.act(BEAT)

    assert [state.name for state in fake.runs[dead].states] == ["Scheduled", "Pending", "Running", "Crashed"]
    assert fake.runs[alive].state.name == "Running"
    assert fake.actions.writes == [("mark_crashed", dead)]
    assert _marks(process) == [("done", "")]
    counted = {key.labels: counter.value for key, counter in process.last.series[ACTIONS].items() if counter.value}
    assert counted == {(("action", "mark_crashed"), ("result", "done")): 1}
    assert process.last.run_stats[PIPELINE].consecutive_failures == 1, "nobody retries it: it failed for good"
    assert [event["event"] for event in fake.actions.events.values()] == [
        "prefect-monitoring.mark_crashed.planned",
        "prefect-monitoring.mark_crashed.done",
    ]


async def test_run_without_a_deployment_is_marked_if_an_entry_names_it(
    begin: Begin, fake: FakePrefect, place: tuple[str, str]
) -> None:
    process = begin(MARK)
    await process.begin()
    (script,) = await _running(fake, process, place[:1])
    await _silence(process)
    assert fake.runs[script].state.name == "Crashed"


async def test_waiting_runs_and_other_pipelines_are_left_alone(
    begin: Begin, fake: FakePrefect, place: tuple[str, str]
) -> None:
    process = begin(MARK.replace("etl", "another"))
    await process.begin()
    await _running(fake, process, place)
    await _silence(process)
    assert process.actions() == []

    process = begin(MARK)
    (paused,) = await _running(fake, process, place)
    fake.set_state(paused, "PAUSED")
    await _silence(process, 9)
    assert fake.runs[paused].state.name == "Paused"


@pytest.mark.parametrize("mode", [OFF, DRY_RUN])
async def test_nothing_is_sent_unless_acting_is_on(
    begin: Begin, fake: FakePrefect, place: tuple[str, str], mode: object
) -> None:
    process = begin(MARK, mode=mode)
    await process.begin()
    await _running(fake, process, place)
    await _silence(process)
    assert (fake.actions.writes, fake.actions.events) == ([], {})
    assert _marks(process) == ([] if mode is OFF else [("dry_run", "")])


async def test_no_run_is_marked_while_prefect_loses_events(
    begin: Begin, fake: FakePrefect, place: tuple[str, str]
) -> None:
    process = begin(MARK)
    await process.begin()
    (run,) = await _running(fake, process, place)
    fake.events.loses = True
    await _silence(process, 9)
    assert (fake.actions.writes, process.actions()) == ([], [])
    fake.events.loses = False
    await _silence(process, 2)
    assert fake.actions.writes == [("mark_crashed", run)]


@pytest.mark.parametrize(
    ("meanwhile", "reason"),
    [
        (lambda fake, run: fake.finish(run), "the run is Completed by now"),
        (lambda fake, run: fake.set_state(run, "CRASHED"), "the run is Crashed by now"),
        (lambda fake, run: fake.set_state(run, "CANCELLING"), "the run is Cancelling by now"),
        (lambda fake, run: fake.delete_run(run), "the run does not exist any more"),
    ],
)
async def test_run_that_changes_before_the_request_is_left_alone(
    begin: Begin, fake: FakePrefect, place: tuple[str, str], meanwhile: Callable[[FakePrefect, str], None], reason: str
) -> None:
    process = begin(MARK)
    await process.begin()
    (run,) = await _running(fake, process, place)

    def change(endpoint: str) -> None:
        if endpoint == "flow_runs" and run in fake.runs and fake.runs[run].state.type == "RUNNING":
            meanwhile(fake, run)

    fake.before_request = change
    await _silence(process)
    assert fake.actions.writes == []
    assert _marks(process) == [("refused", reason)]


async def test_run_whose_heartbeats_resume_before_the_request_is_left_alone(
    begin: Begin, fake: FakePrefect, place: tuple[str, str]
) -> None:
    process = begin(MARK)
    await process.begin()
    (run,) = await _running(fake, process, place)
    fake.broken["history"] = ApiError("the API is away", "503")
    await _silence(process)
    assert [result for result, _ in _marks(process)] == ["planned"]
    fake.broken.clear()
    _beat(fake, run)
    await process.act()
    assert fake.actions.writes == []
    assert _marks(process) == [("refused", "the run sends heartbeats again")]


@pytest.mark.parametrize("fault", [LOSE_ANSWER, LOSE_REQUEST, THROTTLE])
async def test_request_with_unknown_result_is_settled_by_reading_the_run(
    begin: Begin, fake: FakePrefect, place: tuple[str, str], fault: str
) -> None:
    process = begin(MARK)
    await process.begin()
    (run,) = await _running(fake, process, place)
    fake.actions.faults.append(fault)
    await _silence(process, 6)
    assert fake.actions.writes == [("mark_crashed", run)]
    assert [result for result, _ in _marks(process)] == ["done"]


async def test_forbidden_request_fails_once(begin: Begin, fake: FakePrefect, place: tuple[str, str]) -> None:
    process = begin(MARK)
    await process.begin()
    await _running(fake, process, place)
    fake.actions.faults.append(FORBID)
    await _silence(process, 6)
    assert _marks(process) == [("failed", "403")]


async def test_fuse_limits_how_many_runs_are_marked(begin: Begin, fake: FakePrefect, place: tuple[str, str]) -> None:
    process = begin(MARK, mode=type(ACT)(Fuse(100, 3), act=True))
    await process.begin()
    runs = await _running(fake, process, *[place] * 8)
    await _silence(process, 6)
    assert sum(fake.runs[run].state.name == "Crashed" for run in runs) == 3
    assert sorted(result for result, _ in _marks(process)) == ["done"] * 3 + ["fuse"] * 5


@pytest.mark.parametrize(("also", "retried"), [("", False), (", retry_unresponsive: true", True)])
async def test_marked_run_is_retried_only_if_declared(
    begin: Begin, fake: FakePrefect, place: tuple[str, str], also: str, *, retried: bool
) -> None:
    process = begin(RETRY % also)
    await process.begin()
    (run,) = await _running(fake, process, place)
    await _silence(process, 6)
    assert fake.runs[run].state.name == ("AwaitingRetry" if retried else "Crashed")
    kinds = [kind for kind, _, _ in process.results()]
    assert kinds == ["mark_crashed", "retry"] if retried else kinds == ["mark_crashed"]


async def test_run_reported_crashed_by_its_worker_is_retried_like_any_other(
    begin: Begin, fake: FakePrefect, place: tuple[str, str]
) -> None:
    process = begin(RETRY % "")
    await process.begin()
    (run,) = await _running(fake, process, place)
    fake.finish(run, 1.0, "CRASHED", "exit code 137")
    await process.act()
    assert [kind for kind, _, _ in process.results()] == ["retry"]
