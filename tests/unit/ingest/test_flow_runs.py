"""Reading flow runs: pages, names, and histories with hidden terminal states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import sqlalchemy as sa

from prefect_monitoring.ingest.flow_runs import Reader
from prefect_monitoring.ingest.reconcile import Reconciliation, Verdict
from prefect_monitoring.ingest.source import OutageLog, Source
from prefect_monitoring.ledger import schema
from prefect_monitoring.ledger.ledger import Ledger
from prefect_monitoring.model.changes import SeriesKey
from prefect_monitoring.model.counted_metrics import OUTCOMES, RETRIES, START_DELAY
from prefect_monitoring.model.cursor import FLOW_RUNS, OVERLAP_SECONDS
from prefect_monitoring.model.records import DELETED, TERMINAL_TYPES, Pipeline
from prefect_monitoring.prefect_api.errors import INCOMPLETE, ApiError
from prefect_monitoring.prefect_api.state_history import NO_TIME, Histories
from unit.fake_prefect import MICROSECOND, MONDAY_NOON, FakePrefect
from unit.ledger_values import KEEP
from unit.rig import DAY, MakeReader, OpenLedger

PIPELINE = Pipeline("etl", "daily")


def outcomes(ledger: Ledger, pipeline: Pipeline = PIPELINE) -> dict[str, int]:
    return {
        key.detail: int(counter.value)
        for key, counter in ledger.series.items()
        if key.metric == OUTCOMES and key.pipeline == pipeline and counter.value
    }


def value(ledger: Ledger, metric: str) -> float:
    return ledger.series[SeriesKey(metric, PIPELINE)].value


async def read(reader: Reader) -> None:
    await reader.read_finished(60)
    await reader.read_active()


async def audit(reader: Reader, fake: FakePrefect) -> Verdict:
    return await Reconciliation(reader, FLOW_RUNS, TERMINAL_TYPES, fake.ended_by_type, reader.finished).closed_hours(
        0.0, fake.now
    )


# Hidden outcomes


@pytest.fixture
def _little_time(fake: FakePrefect, monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits the time to three of the histories requested together."""
    whole = fake.histories

    async def some(run_ids: Sequence[str]) -> Histories:
        histories = await whole(run_ids[:3])
        return replace(histories, fault=ApiError(NO_TIME, INCOMPLETE)) if len(run_ids) > 3 else histories

    monkeypatch.setattr(fake, "histories", some)


def retried_by_hand(fake: FakePrefect, place: tuple[str, str], number: int) -> None:
    """Runs `number` runs, half of which fail, are retried and complete."""
    for index in range(number):
        run = fake.schedule(*place)
        fake.start(run)
        fake.finish(run, 10, "FAILED" if index % 2 else "COMPLETED", "boom")
        if index % 2:
            fake.retry(run)
            fake.start(run, after=60)
            fake.finish(run, 10)


@pytest.mark.usefixtures("_little_time")
async def test_initial_sync_with_many_retries_continues_until_all_are_counted(
    fake: FakePrefect, reader: Reader, place: tuple[str, str]
) -> None:
    fake.page_limit = 10
    retried_by_hand(fake, place, 60)
    source = Source(FLOW_RUNS, 60, OutageLog(), fake.clock)
    readings = 0
    while await source.read(lambda: reader.read_finished(60)) and source.has_more:
        readings += 1
        assert not reader.ledger.cursor.baseline_complete
    assert source.up, source.error
    assert 0 < readings < 20
    assert reader.ledger.cursor.baseline_complete
    assert outcomes(reader.ledger) == {"completed": 60, "failed": 30}


@pytest.mark.usefixtures("_little_time")
async def test_audit_of_many_retries_reports_no_fault(
    fake: FakePrefect, reader: Reader, place: tuple[str, str]
) -> None:
    await read(reader)
    retried_by_hand(fake, place, 20)
    fake.now += 2 * OVERLAP_SECONDS
    assert await audit(reader, fake) == Verdict(read_again=20)
    assert outcomes(reader.ledger) == {"completed": 20, "failed": 10}


async def test_failure_and_its_retry_between_two_polls_are_both_counted(
    fake: FakePrefect, reader: Reader, place: tuple[str, str]
) -> None:
    run = fake.schedule(*place)
    fake.start(run)
    fake.finish(run, 10, "FAILED", "boom")
    fake.retry(run)
    await read(reader)
    assert outcomes(reader.ledger) == {"failed": 1}
    fake.start(run, after=60)
    fake.finish(run, 10)
    await read(reader)
    assert outcomes(reader.ledger) == {"failed": 1, "completed": 1}
    assert value(reader.ledger, RETRIES) == 1


@pytest.mark.parametrize("ending", ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"])
async def test_crash_before_the_start_is_counted_whatever_its_retry_does(
    fake: FakePrefect, reader: Reader, place: tuple[str, str], ending: str
) -> None:
    """When the retry fails, neither the reschedule flag nor the attempt count shows the crash any more."""
    run = fake.schedule(*place)
    fake.set_state(run, "PENDING")
    fake.finish(run, 1, "CRASHED", "worker is gone")
    fake.retry(run)
    fake.start(run, after=60)
    fake.finish(run, 10, ending, "boom")
    await read(reader)
    expected = {"crashed": 1, ending.lower(): 1} if ending != "CRASHED" else {"crashed": 2}
    assert outcomes(reader.ledger) == expected


async def test_failure_completed_by_hand_is_found_by_the_audit(
    fake: FakePrefect, reader: Reader, place: tuple[str, str]
) -> None:
    run = fake.schedule(*place)
    fake.start(run)
    fake.finish(run, 10, "FAILED", "boom")
    await read(reader)
    fake.now += 3600
    newer = fake.schedule(*place)
    fake.start(newer)
    fake.finish(newer, 10, "CANCELLED")
    await read(reader)
    fake.set_state(run, "COMPLETED", message="by hand")
    fake.now += OVERLAP_SECONDS + 1
    await read(reader)
    assert outcomes(reader.ledger) == {"failed": 1, "cancelled": 1}, "its end time is old: no reading finds it"
    assert await audit(reader, fake) == Verdict(read_again=2)
    assert outcomes(reader.ledger) == {"failed": 1, "cancelled": 1, "completed": 1}
    stats = reader.ledger.run_stats([PIPELINE], fake.now)[PIPELINE]
    assert stats.consecutive_failures == 0
    assert stats.window_runs["1d", "good"] == 1
    assert stats.window_runs["1d", "bad"] == 0
    assert await audit(reader, fake) == Verdict(), "no difference remains"


async def test_run_that_arrives_behind_the_watermark_is_counted(
    fake: FakePrefect, reader: Reader, place: tuple[str, str]
) -> None:
    """A commit that took minutes: the end is before the watermark, within the overlap or only in the audit's window."""
    late, later = fake.schedule(*place), fake.schedule(*place)
    for run in (late, later):
        fake.start(run)
        fake.finish(run, 1)
    hidden = {run: fake.runs.pop(run) for run in (late, later)}
    fake.now += 290
    newest = fake.schedule(*place)
    fake.start(newest)
    fake.finish(newest)
    await read(reader)
    assert outcomes(reader.ledger) == {"completed": 1}
    fake.runs[late] = hidden[late]
    await read(reader)
    assert outcomes(reader.ledger) == {"completed": 2}
    fake.now += 3600
    newest = fake.schedule(*place)
    fake.start(newest)
    fake.finish(newest)
    await read(reader)
    fake.runs[later] = hidden[later]
    fake.now += 3600
    await read(reader)
    assert outcomes(reader.ledger) == {"completed": 3}
    await audit(reader, fake)
    assert outcomes(reader.ledger) == {"completed": 4}


async def test_start_delay_counts_only_the_first_start(
    fake: FakePrefect, reader: Reader, place: tuple[str, str]
) -> None:
    run = fake.schedule(*place)
    fake.set_state(run, "PENDING")
    fake.now += 7
    fake.set_state(run, "RUNNING")
    await read(reader)
    fake.finish(run, 10, "FAILED")
    await read(reader)
    fake.retry(run)
    fake.start(run, after=300)
    fake.finish(run, 10)
    await read(reader)
    one = reader.ledger.series[SeriesKey(START_DELAY, PIPELINE)]
    assert sum(one.buckets) == 1
    assert one.value == pytest.approx(7, abs=1e-3)


# Pages


@pytest.mark.parametrize("page_limit", [1, 2, 3, 4, 5, 7])
async def test_pages_are_read_at_most_twice(
    fake: FakePrefect, reader: Reader, place: tuple[str, str], page_limit: int
) -> None:
    """Seven runs, four of them with the same end."""
    fake.page_limit = page_limit
    runs = [fake.schedule(*place) for _ in range(7)]
    for run in runs:
        fake.start(run)
    fake.now += 10
    for run in runs[:4]:
        fake.set_state(run, "COMPLETED")
    for run in runs[4:]:
        fake.finish(run, 1)
    await read(reader)
    assert outcomes(reader.ledger) == {"completed": 7}
    assert reader.ledger.cursor.watermark == fake.runs[runs[-1]].end
    assert reader.ledger.cursor.page_before is None


async def test_run_without_an_end_time_that_never_started_is_counted(
    fake: FakePrefect, reader: Reader, place: tuple[str, str]
) -> None:
    """Servers before 3.6 set no end time on such a run, so no window of end times contains it."""
    fake.notes_every_end = False
    old = fake.schedule(*place)
    fake.set_state(old, "CRASHED")
    fake.now += DAY
    await read(reader)
    new = fake.schedule(*place)
    fake.set_state(new, "CANCELLED")
    fake.finish(run := fake.schedule(*place), 1)
    fake.now += 1
    await read(reader)
    await read(reader)
    assert outcomes(reader.ledger) == {"crashed": 1, "cancelled": 1, "completed": 1}, run
    assert reader.ledger.known([new]).runs[new].ended_at == fake.runs[new].state.at


async def test_interrupted_reading_continues_in_the_next_process(
    fake: FakePrefect, reader: Reader, place: tuple[str, str], make_reader: MakeReader
) -> None:
    fake.page_limit = 2
    for _ in range(6):
        run = fake.schedule(*place)
        fake.start(run)
        fake.finish(run, 1)
    pages = 0

    def fail_from_the_third_on(endpoint: str) -> None:
        nonlocal pages
        pages += endpoint == "finished_page"
        if pages >= 3:
            raise ApiError("the server failed", "500")

    fake.before_request = fail_from_the_third_on
    with pytest.raises(ApiError, match="the server failed"):
        await reader.read_finished(60)
    assert not reader.ledger.cursor.baseline_complete
    resumed_at = reader.ledger.cursor.page_before
    assert resumed_at is not None
    fake.before_request = lambda _endpoint: None
    asked: list[float | None] = []
    original = fake.finished_page

    async def note_before(after: float, before: float | None, offset: int):
        asked.append(before)
        return await original(after, before, offset)

    fake.finished_page = note_before  # type: ignore[method-assign]
    await make_reader().read_finished(60)
    assert asked[0] == resumed_at
    assert outcomes(reader.ledger) == {"completed": 6}
    assert reader.ledger.cursor.baseline_complete


async def test_reading_without_budget_begins_no_further_page(
    fake: FakePrefect, reader: Reader, place: tuple[str, str]
) -> None:
    fake.page_limit = 2
    for _ in range(4):
        run = fake.schedule(*place)
        fake.start(run)
        fake.finish(run, 1)
    for readings in (1, 2):
        reading = await reader.read_finished(0)
        assert (reading.records, reading.complete) == (2, False)
        assert fake.requests["finished_page"] == readings
        assert outcomes(reader.ledger) == {"completed": readings + 1}, "pages meet at a run that both hold"
        assert not reader.ledger.cursor.baseline_complete
    await reader.read_finished(60)
    assert outcomes(reader.ledger) == {"completed": 4}
    assert reader.ledger.cursor.baseline_complete


async def test_run_with_an_end_in_the_future_hides_no_earlier_run(
    fake: FakePrefect, reader: Reader, place: tuple[str, str]
) -> None:
    now = fake.now
    odd = fake.schedule(*place)
    fake.start(odd)
    fake.finish(odd, 30 * DAY)
    fake.now = now + 60
    await read(reader)
    assert reader.ledger.cursor.watermark <= fake.now
    fake.now += 3600
    run = fake.schedule(*place)
    fake.start(run)
    fake.finish(run, 1)
    await read(reader)
    assert outcomes(reader.ledger) == {"completed": 2}


# Faults


async def test_unreadable_history_is_retried(fake: FakePrefect, reader: Reader, place: tuple[str, str]) -> None:
    run = fake.schedule(*place)
    fake.start(run)
    fake.finish(run, 10, "FAILED")
    fake.retry(run)
    fake.start(run)
    fake.finish(run, 10)
    fake.broken["histories"] = ApiError("the server failed", "500")
    with pytest.raises(ApiError, match="1 finished run"):
        await reader.read_finished(60)
    assert outcomes(reader.ledger) == {}
    assert not reader.ledger.cursor.baseline_complete
    fake.broken.clear()
    await reader.read_finished(60)
    assert outcomes(reader.ledger) == {"failed": 1, "completed": 1}
    assert reader.ledger.cursor.baseline_complete


async def test_run_with_unreadable_names_waits_while_others_are_counted(
    fake: FakePrefect, reader: Reader, place: tuple[str, str]
) -> None:
    run = fake.schedule(*place)
    fake.start(run)
    fake.finish(run, 10)
    await read(reader)
    fake.now += 3600
    other_flow = fake.add_flow("ml")
    for place_of_run in (place, (other_flow,)):
        run = fake.schedule(*place_of_run)
        fake.start(run)
        fake.finish(run, 10)
    fake.broken["flows"] = ApiError("the server failed", "500")
    with pytest.raises(ApiError, match="1 finished run"):
        await reader.read_finished(60)
    assert outcomes(reader.ledger) == {"completed": 2}
    fake.broken.clear()
    await reader.read_finished(60)
    assert outcomes(reader.ledger, Pipeline("ml", "")) == {"completed": 1}


# Names


async def test_run_of_an_unknown_deployment_is_counted_as_deleted(
    fake: FakePrefect, reader: Reader, place: tuple[str, str]
) -> None:
    run = fake.schedule(*place)
    fake.start(run)
    fake.finish(run, 1)
    fake.delete_deployment(place[1])
    await read(reader)
    assert outcomes(reader.ledger, Pipeline("etl", DELETED)) == {"completed": 1}
    asked = fake.requests["deployments"]
    await read(reader)
    assert fake.requests["deployments"] == asked, "it is not requested again"


async def test_names_of_deleted_objects_are_kept(fake: FakePrefect, reader: Reader, place: tuple[str, str]) -> None:
    run = fake.schedule(*place)
    fake.start(run)
    await reader.read_flows()
    await reader.read_deployments()
    fake.delete_deployment(place[1])
    await reader.read_deployments()
    assert PIPELINE not in reader.ledger.names.live_pipelines()
    fake.finish(run, 1)
    await read(reader)
    assert outcomes(reader.ledger) == {"completed": 1}


async def test_renamed_flow_is_another_pipeline(fake: FakePrefect, reader: Reader, place: tuple[str, str]) -> None:
    """Renamed in the database: the API cannot rename flows."""
    await reader.read_flows()
    await reader.read_deployments()
    for name in ("etl", "elt"):
        fake.rename_flow(place[0], name)
        await reader.read_flows()
        await reader.create_zero_born_series()
        run = fake.schedule(*place)
        fake.start(run)
        fake.finish(run, 10, "FAILED", "boom")
        await read(reader)
    renamed = Pipeline("elt", "daily")
    stats = reader.ledger.run_stats([renamed, PIPELINE], fake.now)
    assert [stats[one].consecutive_failures for one in (PIPELINE, renamed)] == [1, 1]
    assert outcomes(reader.ledger) == {"failed": 1}
    assert outcomes(reader.ledger, renamed) == {"failed": 1}


# Excluded runs and the cap


async def test_excluded_runs_are_remembered_and_not_counted(fake: FakePrefect, make_reader: MakeReader) -> None:
    reader = make_reader(exclude_flows="ml.*")
    flow, ml = fake.add_flow("etl"), fake.add_flow("ml-training")
    for flow_id in (flow, ml):
        run = fake.schedule(flow_id)
        fake.start(run)
        fake.finish(run, 1)
    await read(reader)
    assert outcomes(reader.ledger, Pipeline("etl", "")) == {"completed": 1}
    assert {key.pipeline for key in reader.ledger.series} == {Pipeline("etl", "")}
    fake.now += 3600
    assert await audit(reader, fake) == Verdict(), "excluded runs are no difference"


async def test_pipelines_beyond_the_cap_are_counted_together(fake: FakePrefect, make_reader: MakeReader) -> None:
    reader = make_reader(max_pairs=2)
    await reader.read_finished(60)
    for name in ("a", "b", "c", "d"):
        run = fake.schedule(fake.add_flow(name))
        fake.start(run)
        fake.finish(run, 1)
    await read(reader)
    pipelines = {key.pipeline for key in reader.ledger.series}
    assert len(pipelines) == 3
    assert outcomes(reader.ledger, Pipeline("(other)", "(other)")) == {"completed": 2}
    assert reader.ledger.folded[OUTCOMES] == 2


# The horizon


async def test_runs_that_ended_before_the_lookback_are_not_counted(
    fake: FakePrefect, reader: Reader, place: tuple[str, str]
) -> None:
    now = fake.now
    fake.now = now - 31 * DAY
    run = fake.schedule(*place)
    fake.start(run)
    fake.finish(run, 10, "FAILED")
    fake.now = now
    fake.retry(run)
    fake.start(run)
    fake.finish(run, 10)
    await read(reader)
    assert outcomes(reader.ledger) == {"completed": 1}


async def prune(reader: Reader, now: float) -> None:
    live = reader.ledger.names.live_pipelines()
    await reader.in_ledger(reader.ledger.prune, now, keep=KEEP, live=live)


async def month_old_world(fake: FakePrefect, reader: Reader, place: tuple[str, str]) -> list[str]:
    """Five counted runs that failed and completed after a retry; a month later another run has ended."""
    runs = []
    for _ in range(5):
        run = fake.schedule(*place)
        fake.start(run)
        fake.finish(run, 10, "FAILED", "boom")
        fake.retry(run)
        fake.start(run)
        fake.finish(run, 10)
        runs.append(run)
    await read(reader)
    fake.now += 31 * DAY
    run = fake.schedule(*place)
    fake.start(run)
    fake.finish(run, 10)
    fake.now += 60
    await read(reader)
    assert outcomes(reader.ledger) == {"failed": 5, "completed": 6}
    assert value(reader.ledger, RETRIES) == 5
    return runs


async def test_retry_of_a_pruned_run_counts_only_the_retry(
    fake: FakePrefect, reader: Reader, place: tuple[str, str]
) -> None:
    runs = await month_old_world(fake, reader, place)
    await prune(reader, fake.now)
    for run in runs[:2]:
        fake.retry(run)
        fake.start(run)
        fake.finish(run, 10)
    fake.now += 60
    await read(reader)
    assert outcomes(reader.ledger) == {"failed": 5, "completed": 8}
    assert sum(reader.ledger.series[SeriesKey(START_DELAY, PIPELINE)].buckets) == 6
    assert value(reader.ledger, RETRIES) == 7


async def test_prune_during_a_page_keeps_the_new_horizon(
    fake: FakePrefect, reader: Reader, place: tuple[str, str], open_it: OpenLedger
) -> None:
    """Polling and pruning are two jobs: a cursor made before the prune is committed after it."""
    await month_old_world(fake, reader, place)

    def prune_now(endpoint: str) -> None:
        if endpoint == "finished_page":
            fake.before_request = lambda _: None
            reader._thread.submit(reader.ledger.prune, fake.now, keep=KEEP, live=[PIPELINE]).result()

    fake.before_request = prune_now
    await reader.read_finished(60)
    horizon = reader.ledger.cursor.horizon
    await audit(reader, fake)
    assert outcomes(reader.ledger) == {"failed": 5, "completed": 6}, "pruned runs must not be counted again"
    assert horizon > MONDAY_NOON, "the prune's horizon stays"


async def test_prune_during_an_audit_counts_nothing_twice(
    fake: FakePrefect, reader: Reader, place: tuple[str, str]
) -> None:
    await month_old_world(fake, reader, place)
    fake.delete_run(next(iter(fake.runs)))
    pages = 0

    def prune_now(endpoint: str) -> None:
        nonlocal pages
        pages += endpoint == "finished_page"
        if endpoint == "finished_page" and pages == 1:
            reader._thread.submit(reader.ledger.prune, fake.now, keep=KEEP, live=[PIPELINE]).result()

    fake.before_request = prune_now
    await audit(reader, fake)
    assert pages
    assert outcomes(reader.ledger) == {"failed": 5, "completed": 6}


# The audit


async def test_deleted_run_is_marked_gone_but_stays_counted(
    fake: FakePrefect, reader: Reader, place: tuple[str, str]
) -> None:
    runs = []
    for state_type in ("FAILED", "FAILED", "COMPLETED", "FAILED"):
        run = fake.schedule(*place)
        fake.start(run)
        fake.finish(run, 5, state_type)
        runs.append(run)
    fake.now += 3600
    await read(reader)
    assert reader.ledger.run_stats([PIPELINE], fake.now)[PIPELINE].consecutive_failures == 1
    fake.delete_run(runs[3])
    fake.delete_run(runs[2])
    assert await audit(reader, fake) == Verdict(read_again=2)
    stats = reader.ledger.run_stats([PIPELINE], fake.now)[PIPELINE]
    assert stats.consecutive_failures == 1, "Prefect's retention must not look like a recovery"
    assert stats.last_failure is not None
    assert outcomes(reader.ledger) == {"failed": 3, "completed": 1}
    assert await audit(reader, fake) == Verdict()


async def test_audit_narrows_a_difference_down(
    fake: FakePrefect, reader: Reader, place: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prefect_monitoring.ingest.reconcile.MAX_PAGE", 4)
    runs = []
    for _ in range(32):
        run = fake.schedule(*place)
        fake.start(run)
        fake.finish(run, 1, "FAILED")
        runs.append(run)
        fake.now += 2 * 3600
    await read(reader)
    fake.set_state(runs[10], "COMPLETED")
    verdict = await audit(reader, fake)
    assert 1 <= verdict.read_again <= 8, "not all 32 are read again"
    assert outcomes(reader.ledger) == {"failed": 32, "completed": 1}


async def test_run_that_reappears_is_no_lasting_difference(
    fake: FakePrefect, reader: Reader, place: tuple[str, str]
) -> None:
    """A server restored from a backup, or a late run that is counted while the audit marks runs as gone."""
    run = fake.schedule(*place)
    fake.start(run)
    fake.finish(run, 5, "FAILED")
    await read(reader)
    fake.now += OVERLAP_SECONDS + 60
    back = fake.runs.pop(run)
    await audit(reader, fake)
    assert reader.ledger.ended_by_kind(FLOW_RUNS, 0, fake.now) == {}
    fake.runs[run] = back
    assert await audit(reader, fake) == Verdict(read_again=1)
    assert reader.ledger.ended_by_kind(FLOW_RUNS, 0, fake.now) == {"FAILED": 1}
    assert await audit(reader, fake) == Verdict(), "it is read again and again"


async def test_ledger_keeps_microseconds(fake: FakePrefect, reader: Reader, place: tuple[str, str]) -> None:
    fake.now += 3 * MICROSECOND
    run = fake.schedule(*place)
    fake.start(run)
    fake.finish(run, 1)
    await read(reader)
    with reader.ledger.transaction() as connection:
        assert connection.scalar(sa.select(schema.flow_runs.c.ended_at)) == fake.runs[run].end


# How long a run has been running


async def ran_before(reader: Reader) -> list[float]:
    return [run.ran_before for _, run in await reader.read_active()]


async def test_running_time_adds_attempts_without_the_waits(fake: FakePrefect, reader: Reader) -> None:
    run = fake.schedule(fake.add_flow("etl"), retries=3)
    fake.start(run)
    assert await ran_before(reader) == [0.0]
    for _ in range(2):
        fake.finish(run, 1800.0, "FAILED")
        fake.now += 7200.0  # the delay
        fake.set_state(run, "RUNNING")
    assert fake.runs[run].state.name == "Retrying"
    assert await ran_before(reader) == [3600.0]


async def test_running_time_excludes_pauses(fake: FakePrefect, reader: Reader) -> None:
    run = fake.schedule(fake.add_flow("etl"))
    fake.start(run)
    fake.finish(run, 60.0, "PAUSED")
    fake.now += 86400.0
    fake.set_state(run, "RUNNING")
    assert await ran_before(reader) == [60.0]


async def test_running_time_of_a_rerun_starts_over(fake: FakePrefect, reader: Reader) -> None:
    """A manual rerun days later has not run for days, although its start time is still the first one."""
    flow = fake.add_flow("etl")
    run = fake.schedule(flow, fake.add_deployment("daily", flow), retries=1)
    fake.start(run)
    fake.finish(run, 1800.0, "CRASHED")
    fake.now += 3 * 86400.0
    fake.retry(run)
    fake.start(run, 5.0)
    assert await ran_before(reader) == [0.0]


async def test_earlier_attempts_are_read_once_and_retried_after_a_fault(fake: FakePrefect, reader: Reader) -> None:
    run = fake.schedule(fake.add_flow("etl"), retries=1)
    fake.start(run)
    fake.finish(run, 1800.0, "FAILED")
    await reader.read_active()
    fake.set_state(run, "RUNNING")
    await reader.read_active()
    asked = fake.requests["histories"]
    again = Reader(reader.api, reader.ledger, reader.catalog, lambda _: "", reader.clock)
    fake.broken["histories"] = ApiError("no answer", "timeout")
    assert await ran_before(again) == [0.0], "the lowest possible age"
    fake.broken.clear()
    assert [await ran_before(again) for _ in range(3)] == [[1800.0]] * 3
    assert fake.requests["histories"] == asked + 2
