"""Reading task runs: their flow runs, a recorder that is behind, and active task runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from prefect_monitoring.ingest.sources import Readers
from prefect_monitoring.ingest.task_runs import HALF_WRITTEN_SECONDS
from prefect_monitoring.ledger.ledger import Ledger
from prefect_monitoring.model.changes import SeriesKey
from prefect_monitoring.model.counted_metrics import TASK_FAILURES, TASK_OUTCOMES, TASK_RETRIES, TASK_SECONDS
from prefect_monitoring.model.cursor import OVERLAP_SECONDS, TASK_RUNS
from prefect_monitoring.model.records import DELETED, NO_FLOW, OTHER, OVERFLOW, Pipeline
from prefect_monitoring.prefect_api.errors import ApiError
from unit.fake_prefect import MONDAY_NOON, FakePrefect
from unit.rig import DAY, MakeReaders, OpenLedger

PIPELINE = Pipeline("etl", "daily")
DOWN = ApiError("the server failed", "500")


def outcomes(ledger: Ledger, pipeline: Pipeline = PIPELINE) -> dict[tuple[str, str], int]:
    return {
        (key.task, key.detail): int(counter.value)
        for key, counter in ledger.series.items()
        if key.metric == TASK_OUTCOMES and key.pipeline == pipeline and counter.value
    }


async def read(readers: Readers) -> None:
    await readers.flow_runs.read_finished(60)
    await readers.flow_runs.read_active()
    await readers.task_runs.read_finished(60)


async def test_task_runs_are_counted_under_the_names_of_their_flow_runs(
    fake: FakePrefect, readers: Readers, flow_run: str
) -> None:
    fake.tasks.run("extract", flow_run, 2.0)
    fake.tasks.run("extract", flow_run, 3.0, "Cached")
    fake.tasks.run("load", flow_run, 4.0, "Failed")
    await read(readers)
    ledger = readers.flow_runs.ledger
    assert outcomes(ledger) == {("extract", "completed"): 1, ("extract", "cached"): 1, ("load", "failed"): 1}
    assert ledger.series[SeriesKey(TASK_SECONDS, PIPELINE, task="extract")].value == pytest.approx(5.0)
    assert ledger.series[SeriesKey(TASK_OUTCOMES, PIPELINE, "failed", "extract")].value == 0, (
        "a new series starts at zero"
    )
    assert ledger.series[SeriesKey(TASK_FAILURES, PIPELINE, "other", "load")].value == 1
    assert PIPELINE in ledger.touched


async def test_unknown_flow_run_is_requested_once(fake: FakePrefect, readers: Readers) -> None:
    """The ledger may not know a flow run that is only rescheduled or has started since the last poll."""
    for name in ("a", "b"):
        run = fake.schedule(fake.add_flow(name))
        fake.start(run)
        fake.tasks.run("load", run)
    await readers.task_runs.read_finished(60)
    assert fake.requests["flow_runs"] == 1
    assert outcomes(readers.flow_runs.ledger, Pipeline("a", "")) == {("load", "completed"): 1}
    assert outcomes(readers.flow_runs.ledger, Pipeline("b", "")) == {("load", "completed"): 1}


async def test_task_run_of_a_deleted_flow_run_is_counted_as_deleted(
    fake: FakePrefect, readers: Readers, flow_run: str
) -> None:
    fake.tasks.run("load", flow_run)
    page = await fake.tasks.finished_page(0.0, None, 0)

    async def stale_page(*_: object) -> object:
        return page

    fake.tasks.finished_page = stale_page  # type: ignore[method-assign,assignment]
    fake.delete_run(flow_run)
    await readers.task_runs.read_finished(60)
    assert outcomes(readers.flow_runs.ledger, Pipeline(DELETED, "")) == {("load", "completed"): 1}


async def test_task_runs_outside_flows_have_no_flow(fake: FakePrefect, readers: Readers) -> None:
    fake.tasks.run("warm_up", None)
    await read(readers)
    assert outcomes(readers.flow_runs.ledger, NO_FLOW) == {("warm_up", "completed"): 1}


async def test_subflow_placeholders_are_not_task_runs(fake: FakePrefect, readers: Readers, flow_run: str) -> None:
    placeholder = fake.tasks.begin("child flow", flow_run, is_placeholder=True)
    fake.tasks.finish(placeholder, 1.0)
    await read(readers)
    assert outcomes(readers.flow_runs.ledger) == {}


async def test_excluded_task_runs_are_remembered_and_not_counted(
    fake: FakePrefect, make_readers: MakeReaders, flow_run: str
) -> None:
    readers = make_readers(exclude_flows="e.*")
    fake.tasks.run("load", flow_run)
    await read(readers)
    ledger = readers.flow_runs.ledger
    assert {key for key in ledger.series if key.task} == set()
    assert sum(ledger.ended_by_kind(TASK_RUNS, 0, fake.now).values()) == 1


async def test_caps_hold_for_tasks_and_for_their_pipelines(
    fake: FakePrefect, make_readers: MakeReaders, place: tuple[str, str]
) -> None:
    readers = make_readers(max_pairs=1, max_tasks=2)
    other = (fake.add_flow("ml"),)
    for where in (place, other):
        run = fake.schedule(*where)
        fake.start(run)
        for task in ("a", "b", "c", "d"):
            fake.tasks.run(task, run)
        fake.finish(run)
        await read(readers)
    ledger = readers.flow_runs.ledger
    # Newest first: d and c come before b and a.
    assert outcomes(ledger) == {("d", "completed"): 1, ("c", "completed"): 1, (OTHER, "completed"): 2}
    assert outcomes(ledger, OVERFLOW) == {(OTHER, "completed"): 4}


async def test_folded_tasks_are_reported(fake: FakePrefect, make_readers: MakeReaders, flow_run: str) -> None:
    """Tasks beyond `max_tasks` count too, not only those of pipelines beyond `max_pairs`, as the metric's help says."""
    readers = make_readers(max_tasks=1)
    for task in ("a", "b", "c"):
        fake.tasks.run(task, flow_run)
    await read(readers)
    assert readers.flow_runs.ledger.folded[TASK_OUTCOMES] == 2


# Retries


async def test_extra_attempts_of_a_task_run_are_retries(fake: FakePrefect, readers: Readers, flow_run: str) -> None:
    run = fake.tasks.begin("load", flow_run)
    fake.now += 2
    fake.tasks.fail_and_retry(run, fake.logs)
    fake.now += 2
    fake.tasks.fail_and_retry(run, fake.logs, delay=30.0)
    await read(readers)
    assert outcomes(readers.flow_runs.ledger) == {}, "it is not over"
    fake.tasks.finish(run, 2.0)
    await read(readers)
    ledger = readers.flow_runs.ledger
    assert ledger.series[SeriesKey(TASK_RETRIES, PIPELINE, task="load")].value == 2
    assert ledger.series[SeriesKey(TASK_SECONDS, PIPELINE, task="load")].value == pytest.approx(6.0, abs=1e-3)
    assert fake.requests["task_histories"] == 0, "what hides in no history is not asked for"


async def test_roll_back_is_found_at_once_or_by_the_audit(fake: FakePrefect, readers: Readers, flow_run: str) -> None:
    """It moves no end time: once the completion is counted, the incremental reader does not see it."""
    at_once, later = fake.tasks.run("a", flow_run), fake.tasks.run("b", flow_run)
    fake.tasks.roll_back(at_once)
    await read(readers)
    ledger = readers.flow_runs.ledger
    assert outcomes(ledger) == {("a", "completed"): 1, ("a", "rolled_back"): 1, ("b", "completed"): 1}
    fake.tasks.roll_back(later)
    fake.now += OVERLAP_SECONDS + 1
    fake.tasks.run("c", flow_run)
    await read(readers)
    await readers.reconciliations[1].closed_hours(0.0, fake.now)
    assert outcomes(ledger)["b", "rolled_back"] == 1


# Late records


async def test_nothing_is_read_twice_without_late_task_runs(fake: FakePrefect, readers: Readers, flow_run: str) -> None:
    for _ in range(3):
        fake.tasks.run("load", flow_run)
    await read(readers)
    fake.now += 15
    fake.tasks.run("load", flow_run)
    reading = await readers.task_runs.read_finished(60)
    assert reading.records == 2, "the previous newest end, and the new one"
    assert outcomes(readers.flow_runs.ledger) == {("load", "completed"): 4}


@pytest.mark.parametrize("page_limit", [1, 2, 3, 200])
async def test_recorder_a_minute_behind_loses_nothing(
    fake: FakePrefect, readers: Readers, flow_run: str, page_limit: int
) -> None:
    fake.page_limit = page_limit
    await read(readers)
    for lag in (60.0, 0.0, 45.0, 20.0):
        fake.tasks.lag = lag
        fake.tasks.run("load", flow_run)
    fake.tasks.lag = 0.0
    counts = []
    for _ in range(6):
        fake.now += 15
        await read(readers)
        counts.append(outcomes(readers.flow_runs.ledger)["load", "completed"])
    assert counts[0] < 4
    assert counts[-1] == 4


async def test_deletion_does_not_cause_endless_deep_readings(
    fake: FakePrefect, readers: Readers, place: tuple[str, str]
) -> None:
    runs = []
    for _ in range(2):
        runs.append(fake.schedule(*place))
        fake.start(runs[-1])
        fake.tasks.run("load", runs[-1])
    await read(readers)
    fake.delete_run(runs[0])
    fake.now += 2 * OVERLAP_SECONDS
    fake.tasks.run("load", runs[1])
    await read(readers)
    await readers.reconciliations[1].closed_hours(0.0, fake.now)
    fake.now += 15
    assert (await readers.task_runs.read_finished(60)).records == 1
    assert outcomes(readers.flow_runs.ledger) == {("load", "completed"): 3}


async def test_restart_during_the_baseline_load_continues_it(
    fake: FakePrefect, readers: Readers, flow_run: str, make_readers: MakeReaders, open_it: OpenLedger
) -> None:
    fake.page_limit = 2
    for _ in range(6):
        fake.tasks.run("load", flow_run)
    await readers.task_runs.read_finished(0)
    ledger = readers.flow_runs.ledger
    assert not ledger.cursors[TASK_RUNS].baseline_complete
    readers.flow_runs.close()
    second = make_readers(open_it())
    assert second.flow_runs.ledger.cursors[TASK_RUNS].page_before is not None
    await second.task_runs.read_finished(60)
    assert outcomes(second.flow_runs.ledger) == {("load", "completed"): 6}
    assert second.flow_runs.ledger.cursors[TASK_RUNS].baseline_complete


async def test_tasks_have_a_separate_lookback(
    fake: FakePrefect, open_it: OpenLedger, make_readers: MakeReaders, flow_run: str, tmp_path: Path
) -> None:
    fake.now = MONDAY_NOON - 3 * DAY
    fake.tasks.run("load", flow_run)
    fake.now = MONDAY_NOON
    fake.tasks.run("load", flow_run)
    readers = make_readers(open_it(url=f"sqlite:///{tmp_path}/other.db", task_lookback=2 * DAY))
    await read(readers)
    assert outcomes(readers.flow_runs.ledger) == {("load", "completed"): 1}


# Faults


async def test_task_run_of_an_unreadable_flow_run_is_retried(
    fake: FakePrefect, readers: Readers, flow_run: str
) -> None:
    fake.tasks.run("load", flow_run)
    fake.tasks.run("warm_up", None)
    fake.broken["flows"] = DOWN
    with pytest.raises(ApiError, match="1 finished runs wait to be counted: the server failed"):
        await readers.task_runs.read_finished(60)
    assert outcomes(readers.flow_runs.ledger, NO_FLOW) == {("warm_up", "completed"): 1}
    assert not readers.flow_runs.ledger.cursors[TASK_RUNS].baseline_complete
    fake.broken.clear()
    await readers.task_runs.read_finished(60)
    assert outcomes(readers.flow_runs.ledger) == {("load", "completed"): 1}


async def test_unreadable_history_is_retried(fake: FakePrefect, readers: Readers, flow_run: str) -> None:
    fake.tasks.roll_back(fake.tasks.run("load", flow_run))
    fake.broken["task_histories"] = DOWN
    with pytest.raises(ApiError, match="1 finished runs wait"):
        await readers.task_runs.read_finished(60)
    assert outcomes(readers.flow_runs.ledger) == {}
    fake.broken.clear()
    await readers.task_runs.read_finished(60)
    assert outcomes(readers.flow_runs.ledger) == {("load", "completed"): 1, ("load", "rolled_back"): 1}


async def test_cause_that_is_not_written_yet_is_waited_for(fake: FakePrefect, readers: Readers, flow_run: str) -> None:
    failed = SeriesKey(TASK_FAILURES, PIPELINE, "connection", "load")
    fake.tasks.state_lag = 10.0
    fake.tasks.run("extract", flow_run)
    fake.tasks.finish(fake.tasks.begin("load", flow_run), 1, "Failed", "ConnectionError: reset by peer")
    with pytest.raises(ApiError, match="1 finished runs wait to be counted: the server has yet to write"):
        await readers.task_runs.read_finished(60)
    assert outcomes(readers.flow_runs.ledger) == {("extract", "completed"): 1}, "a success needs no message"
    fake.now += 10
    await readers.task_runs.read_finished(60)
    assert outcomes(readers.flow_runs.ledger) == {("extract", "completed"): 1, ("load", "failed"): 1}
    assert readers.flow_runs.ledger.series[failed].value == 1


async def test_cause_that_is_never_written_is_not_retried_forever(
    fake: FakePrefect, readers: Readers, flow_run: str
) -> None:
    fake.tasks.state_lag = 10 * DAY
    fake.tasks.finish(fake.tasks.begin("load", flow_run), 1, "Failed", "ConnectionError: reset by peer")
    with pytest.raises(ApiError, match="1 finished runs wait"):
        await readers.task_runs.read_finished(60)
    fake.now += HALF_WRITTEN_SECONDS
    await readers.task_runs.read_finished(60)
    assert outcomes(readers.flow_runs.ledger) == {("load", "failed"): 1}
    await readers.task_runs.read_finished(60)
    assert outcomes(readers.flow_runs.ledger) == {("load", "failed"): 1}


# Active task runs


async def test_active_task_runs_belong_to_active_flow_runs(
    fake: FakePrefect, readers: Readers, place: tuple[str, str]
) -> None:
    alive, pending, over = fake.schedule(*place), fake.schedule(*place), fake.schedule(*place)
    fake.start(alive)
    fake.set_state(pending, "PENDING")
    fake.start(over)
    for run in (alive, pending, over):
        fake.tasks.begin("load", run)
    fake.tasks.run("load", alive)
    fake.finish(over, 1, "CRASHED")
    active = {run.id: (pipeline, run) for pipeline, run in await readers.flow_runs.read_active()}
    found = await readers.task_runs.read_active(active)
    assert [(pipeline, run.flow_run_id, run.state.label) for pipeline, run in found] == [(PIPELINE, alive, "running")]


async def test_task_runs_left_by_an_earlier_attempt_are_not_active(
    fake: FakePrefect, readers: Readers, flow_run: str
) -> None:
    fake.tasks.begin("load", flow_run, attempt=1)
    fake.finish(flow_run, 1, "CRASHED")
    fake.retry(flow_run)
    fake.start(flow_run)
    second = fake.tasks.begin("load", flow_run, attempt=2)
    active = {run.id: (pipeline, run) for pipeline, run in await readers.flow_runs.read_active()}
    assert [run.id for _, run in await readers.task_runs.read_active(active)] == [second]


async def test_no_request_without_active_runs(fake: FakePrefect, readers: Readers) -> None:
    assert await readers.task_runs.read_active({}) == []


async def test_names_of_task_runs_come_from_the_ledger_first(
    fake: FakePrefect, readers: Readers, flow_run: str
) -> None:
    known, running = fake.tasks.run("extract", flow_run), fake.tasks.begin("load", flow_run)
    await read(readers)
    assert await readers.task_runs.names({known}) == {known: "extract"}
    assert fake.requests["tasks_by_id"] == 0
    nobody = fake.new_id()
    assert await readers.task_runs.names({known, running, nobody}) == {known: "extract", running: "load"}
    assert fake.requests["tasks_by_id"] == 1
