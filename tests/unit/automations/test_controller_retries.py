"""Retries from the failed run to the result, with the model of the server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from prefect_monitoring.automations.fuse import Fuse
from prefect_monitoring.automations.retries import plan_retries
from prefect_monitoring.ledger.ledger import Ledger
from prefect_monitoring.model.actions import STOPPED_BY_HAND, Acting
from prefect_monitoring.model.counted_metrics import ACTIONS
from prefect_monitoring.prefect_api.errors import ApiError
from unit.acting_process import ACT, DRY_RUN, OFF, PIPELINE, ActingProcess, Begin
from unit.fake_actions import FORBID, LOSE_ANSWER, LOSE_REQUEST, THROTTLE
from unit.fake_prefect import FakePrefect

RULES = "pipelines: [{flow: etl, retry: {max: 3, delay: 1m, jitter: 0%, not_causes: [code]}}]"

FailARun = Callable[..., Awaitable[tuple[ActingProcess, str]]]


def _counted(process: ActingProcess) -> dict[tuple[str, ...], float]:
    series = process.last.series.get(ACTIONS, {})
    return {tuple(value for _, value in key.labels): counter.value for key, counter in series.items() if counter.value}


@pytest.fixture
def fail_a_run(begin: Begin, fake: FakePrefect, place: tuple[str, str]) -> FailARun:
    """Starts a process, completes its baseline load and fails one run: returns the process and the run's id."""

    async def start(rules: str = RULES, **options: object) -> tuple[ActingProcess, str]:
        process = begin(rules, **options)
        await process.begin()
        run = fake.schedule(*place)
        process.fail(run)
        return process, run

    return start


async def test_failed_run_is_retried_after_its_delay_without_counting_as_failed(
    fail_a_run: FailARun, fake: FakePrefect
) -> None:
    process, run = await fail_a_run()
    failed_at = fake.now

    snapshot = await process.poll()
    assert snapshot.run_stats[PIPELINE].consecutive_failures == 0
    assert fake.runs[run].state.name == "Failed"
    snapshot = await process.act()

    assert fake.runs[run].state.name == "AwaitingRetry"
    assert fake.runs[run].scheduled == failed_at + 60
    assert snapshot.run_stats[PIPELINE].consecutive_failures == 0
    assert process.results() == [("retry", "done", "")]
    assert _counted(process) == {("retry", "done"): 1}
    fake.start(run)
    fake.finish(run, 5.0)
    snapshot = await process.act()
    assert (snapshot.run_stats[PIPELINE].consecutive_failures, len(process.actions())) == (0, 1)


async def test_failed_run_is_unresolved_only_after_its_retries_are_exhausted(
    fail_a_run: FailARun, fake: FakePrefect
) -> None:
    process, run = await fail_a_run("pipelines: [{flow: etl, retry: {max: 1, delay: 1m, jitter: 0%}}]")
    assert (await process.poll()).run_stats[PIPELINE].unresolved == 0
    assert (await process.act()).run_stats[PIPELINE].unresolved == 0
    fake.now += 60
    process.fail(run)
    stats = (await process.act()).run_stats[PIPELINE]
    assert (stats.unresolved, stats.last_failure_retries) == (1, 1)


async def test_run_that_keeps_failing_is_retried_max_times_and_then_counts_as_failed(
    begin: Begin, fake: FakePrefect, place: tuple[str, str]
) -> None:
    process = begin(RULES)
    await process.begin()
    run = fake.schedule(*place)

    for attempt in range(4):
        process.fail(run)
        snapshot = await process.act()
        assert snapshot.run_stats[PIPELINE].consecutive_failures == (attempt == 3)

    assert fake.actions.writes == [("retry", run)] * 3
    assert [result for _, result, _ in process.results()] == ["done"] * 3 + ["exhausted"]
    assert process.results()[-1][2] == "3 of 3 retries are used"
    stats = process.last.run_stats[PIPELINE]
    assert stats.last_failure is not None
    assert (stats.last_failure.run_id, stats.last_failure_retries) == (run, 3)
    assert _counted(process) == {("retry", "done"): 3, ("retry", "exhausted"): 1}


async def test_final_failure_counts_while_another_run_waits_for_its_retry(
    begin: Begin, fake: FakePrefect, place: tuple[str, str]
) -> None:
    process = begin(RULES)
    await process.begin()
    retried, hopeless = fake.schedule(*place), fake.schedule(*place)
    process.fail(hopeless, "KeyError: 'id'")
    process.fail(retried)

    stats = (await process.poll()).run_stats[PIPELINE]

    assert stats.last_failure is not None
    assert (stats.consecutive_failures, stats.last_failure.run_id) == (1, hopeless)


async def test_first_start_retries_no_failure_of_the_baseline(
    begin: Begin, fake: FakePrefect, place: tuple[str, str]
) -> None:
    process = begin(RULES)
    for _ in range(600):
        run = fake.schedule(*place)
        process.fail(run)

    await process.begin()
    await process.act()

    assert process.actions() == []
    assert process.last.run_stats[PIPELINE].consecutive_failures == 600


async def test_only_recent_failures_are_retried_after_an_outage(
    begin: Begin, fake: FakePrefect, place: tuple[str, str]
) -> None:
    process = begin(RULES)
    await process.begin()
    old, young = fake.schedule(*place), fake.schedule(*place)
    process.fail(old)
    fake.now += 3600
    process.fail(young)

    await process.act()

    assert fake.actions.writes == [("retry", young)]


@pytest.mark.parametrize("mode", [OFF, DRY_RUN])
async def test_nothing_is_sent_unless_acting_is_on(fail_a_run: FailARun, fake: FakePrefect, mode: object) -> None:
    process, _ = await fail_a_run(mode=mode)

    snapshot = await process.act()

    assert (fake.actions.writes, fake.actions.events) == ([], {})
    assert snapshot.run_stats[PIPELINE].consecutive_failures == 1
    assert process.results() == ([] if mode is OFF else [("retry", "dry_run", "")])
    assert _counted(process) == ({} if mode is OFF else {("retry", "dry_run"): 1})


async def test_failure_before_acting_was_enabled_is_left_alone(
    begin: Begin, fake: FakePrefect, place: tuple[str, str]
) -> None:
    await begin(RULES, mode=OFF).begin()
    process = begin(RULES)
    process.fail(fake.schedule(*place))

    await process.begin()
    await process.act()
    assert process.actions() == []

    process.fail(fake.schedule(*place))
    begin(RULES)  # killed before it looked
    process = begin(RULES)
    await process.act()
    assert [result for _, result, _ in process.results()] == ["done"]


async def test_plan_skips_a_failure_that_ended_before_acting_was_enabled(
    fail_a_run: FailARun, fake: FakePrefect
) -> None:
    process, run = await fail_a_run(mode=OFF)
    snapshot = await process.poll()
    failures = process.ledger.failed_since(0.0)

    def planned(enabled_at: float) -> list[str]:
        actions = plan_retries(failures, snapshot.policies, {}, enabled_at=enabled_at, now=fake.now)
        return [action.run_id for action in actions]

    assert planned(enabled_at=0.0) == [run]
    assert planned(enabled_at=fake.now) == []


@pytest.mark.parametrize(
    ("take_over", "reason"),
    [
        (lambda fake, run: fake.retry(run), "the run is AwaitingRetry by now"),
        (lambda fake, run: fake.set_state(run, "CANCELLED", force=True), "the run is Cancelled by now"),
        (lambda fake, run: fake.set_state(run, "SCHEDULED", force=True), "the run is Scheduled by now"),
        (lambda fake, run: fake.delete_run(run), "the run does not exist any more"),
        (lambda fake, run: fake.delete_deployment(fake.runs[run].deployment_id), "the run's deployment does not"),
        (lambda fake, run: setattr(fake.runs[run], "parent", "p"), "another run started it"),
        (lambda fake, run: setattr(fake.runs[run], "deployment_id", None), "the run has no deployment"),
    ],
)
async def test_run_changed_between_decision_and_request_is_left_alone(
    fail_a_run: FailARun, fake: FakePrefect, take_over: Callable[[FakePrefect, str], None], reason: str
) -> None:
    process, run = await fail_a_run()
    await process.poll()

    take_over(fake, run)
    await process.controller.act(process.last)

    assert fake.actions.writes == []
    ((_, result, why),) = process.results()
    assert result == "refused"
    assert why.startswith(reason)


async def test_run_retried_by_hand_is_left_alone_from_then_on(fail_a_run: FailARun, fake: FakePrefect) -> None:
    process, run = await fail_a_run()
    fake.retry(run)
    process.fail(run)

    snapshot = await process.act()

    assert process.results() == [("retry", "refused", "somebody retried the run by hand (AwaitingRetry)")]
    assert snapshot.run_stats[PIPELINE].consecutive_failures == 1


async def test_run_set_by_hand_from_failed_to_crashed_is_not_retried(fail_a_run: FailARun, fake: FakePrefect) -> None:
    process, run = await fail_a_run()
    fake.set_state(run, "CRASHED", force=True)

    await process.act()

    assert process.results() == [("retry", "refused", "somebody set the run from Failed to Crashed")]
    assert fake.actions.writes == []


async def test_cancelled_run_is_not_retried_when_its_process_reports_a_crash(
    begin: Begin, fake: FakePrefect, place: tuple[str, str]
) -> None:
    process = begin(RULES)
    await process.begin()
    run = fake.schedule(*place)
    fake.start(run)
    fake.set_state(run, "CANCELLING")
    fake.finish(run, 1.0, "CRASHED", "exit code -15")

    await process.act()

    assert process.results() == [("retry", "refused", "somebody cancelled the run")]
    assert fake.actions.writes == []


async def test_retry_by_prefect_is_left_to_prefect(begin: Begin, fake: FakePrefect, place: tuple[str, str]) -> None:
    process = begin(RULES)
    await process.begin()
    run = fake.schedule(*place, retries=1)
    process.fail(run)
    assert fake.runs[run].state.name == "AwaitingRetry"
    await process.act()
    assert process.actions() == []

    process.fail(run)
    await process.act()
    assert process.results() == [("retry", "done", "")]


@pytest.mark.parametrize("fault", [LOSE_ANSWER, LOSE_REQUEST, THROTTLE])
async def test_retry_with_unknown_result_is_settled_by_reading_the_run(
    fail_a_run: FailARun, begin: Begin, fake: FakePrefect, fault: str
) -> None:
    process, run = await fail_a_run()
    fake.actions.faults.append(fault)

    await process.act()
    assert [result for _, result, _ in process.results()] == ["planned" if fault == THROTTLE else "sent"]
    process = begin(RULES)
    await process.act()

    assert [result for _, result, _ in process.results()] == ["done"]
    assert fake.actions.writes == [("retry", run)]
    assert [state.name for state in fake.runs[run].states].count("AwaitingRetry") == 1


async def test_retry_that_prefect_forbids_fails_and_the_run_counts_as_failed(
    fail_a_run: FailARun, fake: FakePrefect
) -> None:
    process, _ = await fail_a_run()
    fake.actions.faults.append(FORBID)

    snapshot = await process.act()

    assert process.results() == [("retry", "failed", "403")]
    assert snapshot.run_stats[PIPELINE].consecutive_failures == 1


async def test_intention_not_carried_out_in_time_fails_and_the_run_counts_as_failed(
    fail_a_run: FailARun, fake: FakePrefect
) -> None:
    process, _ = await fail_a_run()
    fake.broken["history"] = ApiError("the API is away", "503")

    await process.act()
    assert [result for _, result, _ in process.results()] == ["planned"]
    snapshot = await process.act(after=301)

    assert process.results() == [("retry", "failed", "the API is away")]
    assert snapshot.run_stats[PIPELINE].consecutive_failures == 1


async def test_intention_left_after_acting_was_disabled_expires_and_the_run_counts_as_failed(
    fail_a_run: FailARun, begin: Begin
) -> None:
    process, _ = await fail_a_run()
    await process.poll()

    process = begin(RULES, mode=OFF)
    snapshot = await process.poll(after=601)

    assert snapshot.run_stats[PIPELINE].consecutive_failures == 1
    assert process.results() == [("retry", "failed", "it was not carried out in time")]


async def test_retry_waits_while_another_run_of_the_pipeline_is_running(
    begin: Begin, fake: FakePrefect, place: tuple[str, str]
) -> None:
    process = begin(RULES.replace("max: 3", "max: 3, unless_running: true"))
    await process.begin()
    failed, other = fake.schedule(*place), fake.schedule(*place)
    process.fail(failed)
    fake.start(other)

    snapshot = await process.act()
    assert fake.actions.writes == []
    assert snapshot.run_stats[PIPELINE].consecutive_failures == 0
    fake.finish(other)
    await process.act()

    assert fake.actions.writes == [("retry", failed)]


async def test_retry_that_waited_too_long_is_refused_and_the_run_counts_as_failed(
    begin: Begin, fake: FakePrefect, place: tuple[str, str]
) -> None:
    process = begin(RULES.replace("max: 3", "max: 3, unless_running: true"))
    await process.begin()
    failed, other = fake.schedule(*place), fake.schedule(*place)
    process.fail(failed)
    fake.start(other)

    await process.act()
    snapshot = await process.act(after=3600)

    assert process.results() == [("retry", "refused", "another run of the pipeline is still running")]
    assert snapshot.run_stats[PIPELINE].consecutive_failures == 1


@pytest.mark.slow
async def test_storm_blows_the_fuse_until_a_quiet_hour_has_passed(
    begin: Begin, fake: FakePrefect, place: tuple[str, str]
) -> None:
    process = begin(RULES)
    await process.begin()
    for number in range(500):
        process.fail(fake.schedule(*place), "connection refused" if number % 2 else "database is locked")

    snapshot = await process.act()

    assert len(fake.actions.writes) == 100
    assert _counted(process) == {("retry", "done"): 100, ("retry", "fuse"): 400}
    assert snapshot.run_stats[PIPELINE].consecutive_failures == 400
    process.fail(fake.schedule(*place))
    await process.act(after=1800)
    assert len(fake.actions.writes) == 100
    await process.act(after=3700)
    process.fail(fake.schedule(*place))
    await process.act()
    assert len(fake.actions.writes) == 101


async def test_storm_of_one_cause_blows_the_fuse_earlier_with_a_reason(
    begin: Begin, fake: FakePrefect, place: tuple[str, str]
) -> None:
    process = begin(RULES, mode=replace(ACT, fuse=Fuse(100, 5)))
    await process.begin()
    for _ in range(8):
        process.fail(fake.schedule(*place))

    await process.act()

    assert len(fake.actions.writes) == 5
    reasons = {reason for _, result, reason in process.results() if result == "fuse"}
    assert reasons == {"withheld: 5 actions for the cause connection within an hour"}


async def test_refused_actions_do_not_count_towards_the_fuse(
    begin: Begin, fake: FakePrefect, place: tuple[str, str]
) -> None:
    process = begin(RULES, mode=replace(ACT, fuse=Fuse(2, 2)))
    await process.begin()
    taken_over = [fake.schedule(*place) for _ in range(2)]
    for run in taken_over:
        process.fail(run)
    await process.poll()
    for run in taken_over:
        fake.retry(run)
    await process.controller.act(process.last)
    failed = fake.schedule(*place)
    process.fail(failed)
    await process.act()

    assert [result for _, result, _ in process.results()] == ["refused", "refused", "done"]
    assert fake.actions.writes == [("retry", failed)]


async def test_stop_takes_effect_within_one_poll_and_survives_a_restart(
    fail_a_run: FailARun, begin: Begin, fake: FakePrefect, place: tuple[str, str]
) -> None:
    process, _ = await fail_a_run()
    await process.poll()

    process.ledger.change_acting(lambda acting: acting.stopped(fake.now, STOPPED_BY_HAND))
    snapshot = await process.act()
    assert process.results() == [("retry", "refused", "actions were stopped")]
    assert snapshot.run_stats[PIPELINE].consecutive_failures == 1

    process = begin(RULES)
    old, young = fake.schedule(*place), fake.schedule(*place)
    process.fail(old)
    await process.act(after=7200)
    assert fake.actions.writes == []
    process.fail(young)
    await process.act()
    process.ledger.change_acting(lambda acting: acting.resumed(fake.now))
    newest = fake.schedule(*place)
    process.fail(newest)
    await process.act()

    # What failed meanwhile is retried if it is young enough, but not what the stop itself refused.
    assert sorted(fake.actions.writes) == [("retry", young), ("retry", newest)]


async def test_retry_attempts_outlive_the_pruned_run(begin: Begin, fake: FakePrefect, place: tuple[str, str]) -> None:
    process = begin(RULES)
    await process.begin()
    run = fake.schedule(*place)
    for _ in range(3):
        process.fail(run)
        await process.act()
    fake.now += 40 * 86400
    other = fake.schedule(*place)
    fake.start(other)
    fake.finish(other)
    await process.act()
    process.poller._forget()

    process.fail(run)
    await process.act()

    assert fake.actions.writes == [("retry", run)] * 3
    assert process.results()[-1][1] == "exhausted"


async def test_retries_missing_in_the_ledger_are_counted_from_the_run_history(
    begin: Begin, fake: FakePrefect, place: tuple[str, str], open_it: Callable[..., Ledger], tmp_path: Path
) -> None:
    process = begin(RULES)
    await process.begin()
    run = fake.schedule(*place)
    for _ in range(3):
        process.fail(run)
        await process.act()

    fresh = open_it(url=f"sqlite:///{tmp_path}/fresh.db", now=fake.now)
    process = ActingProcess(fake, fresh, tmp_path / "pipelines.yml")
    await process.begin()
    process.fail(run)
    snapshot = await process.act()

    assert fake.actions.writes == [("retry", run)] * 3
    assert process.results() == [("retry", "exhausted", "3 of 3 retries are used")]
    assert snapshot.run_stats[PIPELINE].consecutive_failures == 1
    process.readers.flow_runs.close()


async def test_action_emits_an_event_about_its_run_with_its_id(fail_a_run: FailARun, fake: FakePrefect) -> None:
    process, run = await fail_a_run()
    await process.act()

    (action,) = process.actions()
    event = fake.actions.events[action.id]
    assert event["event"] == "prefect-monitoring.retry.done"
    assert event["resource"]["prefect.resource.id"] == f"prefect.flow-run.{run}"
    assert event["payload"]["message"] == f"retry 1 of 3 of etl/daily ({fake.runs[run].name}): done"


async def test_action_ended_by_the_planner_emits_an_event(
    fail_a_run: FailARun, fake: FakePrefect, place: tuple[str, str]
) -> None:
    process, run = await fail_a_run(RULES.replace("max: 3", "max: 1"), mode=replace(ACT, fuse=Fuse(1, 1)))
    await process.act()
    process.fail(run)
    for _ in range(2):
        process.fail(fake.schedule(*place))
    await process.act()

    names = [event["event"].removeprefix("prefect-monitoring.") for event in fake.actions.events.values()]
    assert sorted(names) == ["retry.done", "retry.exhausted", "retry.fuse", "retry.fuse"]
    assert fake.requests["emit"] == 2, "the events of a round are sent together"
    assert {action.id for action in process.actions()} == fake.actions.events.keys()


async def test_events_wait_for_the_api_and_are_dropped_after_an_hour(
    begin: Begin, fake: FakePrefect, place: tuple[str, str]
) -> None:
    process = begin(RULES)
    await process.begin()
    first, second = fake.schedule(*place), fake.schedule(*place)
    process.fail(first)
    fake.broken["emit"] = ApiError("no answer", "503")
    await process.act()
    await process.act(after=3700)
    process.fail(second)
    await process.act()
    assert fake.actions.events == {}

    fake.broken.clear()
    process = begin(RULES)
    await process.act()
    await process.act()

    assert [event["resource"]["prefect.resource.id"] for event in fake.actions.events.values()] == [
        f"prefect.flow-run.{second}"
    ]
    assert process.ledger.events_due(10) == []


def test_manual_stop_replaces_a_blown_fuse_but_not_vice_versa() -> None:
    blown = Acting(enabled_at=1.0).stopped(2.0, "100 actions within an hour")
    by_hand = blown.stopped(3.0, STOPPED_BY_HAND)

    assert (blown.fuse_blown, by_hand.fuse_blown, by_hand.stopped_at) == (True, False, 3.0)
    assert by_hand.stopped(4.0, "100 actions within an hour") == by_hand
