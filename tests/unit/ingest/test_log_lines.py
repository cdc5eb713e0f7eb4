"""Reading log lines: each is counted once, however late it arrives and however often it is read."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest

from prefect_monitoring.ingest.log_lines import (
    DEEP_EVERY_SECONDS,
    LINES_KEPT_SECONDS,
    MAX_WINDOW_SECONDS,
    SEARCHED,
    UNSEARCHED,
    WINDOW_SECONDS,
)
from prefect_monitoring.ingest.sources import Readers
from prefect_monitoring.ledger.ledger import Ledger
from prefect_monitoring.ledger.retention import Keep
from prefect_monitoring.model.changes import LastValue, SeriesKey
from prefect_monitoring.model.counted_metrics import CUSTOM_OBSERVED, CUSTOM_VALUE, REJECTED, TASK_FAILURES
from prefect_monitoring.model.cursor import LOG_LINES
from prefect_monitoring.model.metric_lines import Reason
from prefect_monitoring.model.records import DELETED, NO_FLOW, OTHER, Pipeline
from prefect_monitoring.prefect_api.errors import ApiError
from unit.fake_prefect import FakePrefect
from unit.ledger_values import lookbacks_of
from unit.rig import DAY, MakeReaders, OpenLedger

PIPELINE = Pipeline("etl", "daily")
DOWN = ApiError("the server failed", "500")


async def read(readers: Readers) -> None:
    await readers.log_lines.read(60)


async def poll(fake: FakePrefect, readers: Readers, seconds: float) -> None:
    """Polls every 15 s for the given time."""
    for _ in range(int(seconds / 15)):
        fake.now += 15
        await read(readers)


def observed(ledger: Ledger, task: str = "", pipeline: Pipeline = PIPELINE, metric: str = "rows") -> tuple[int, float]:
    """Count and sum."""
    series = [summary for key, summary in ledger.series.items() if _is(key, CUSTOM_OBSERVED, pipeline, metric, task)]
    return sum(sum(summary.buckets) for summary in series), sum(summary.value for summary in series)


def last(ledger: Ledger, task: str = "") -> LastValue | None:
    return ledger.values.get(SeriesKey(CUSTOM_VALUE, PIPELINE, "rows", task))


def rejected(ledger: Ledger) -> dict[str, int]:
    return {
        key.detail: int(counter.value)
        for key, counter in ledger.series.items()
        if key.metric == REJECTED and counter.value
    }


def _is(key: SeriesKey, metric: str, pipeline: Pipeline, detail: str, task: str) -> bool:
    return (key.metric, key.pipeline, key.detail, key.task) == (metric, pipeline, detail, task)


async def test_lines_are_counted_under_the_names_of_their_runs(
    fake: FakePrefect, readers: Readers, flow_run: str
) -> None:
    task_run = fake.tasks.begin("load", flow_run)
    fake.logs.emit("rows", 5, flow_run)
    fake.logs.emit("rows", 7, flow_run, task_run, table="orders")
    fake.logs.emit("rows", 11)
    fake.logs.write("nothing to see", flow_run)
    await read(readers)
    ledger = readers.flow_runs.ledger
    assert observed(ledger) == (1, 5)
    assert observed(ledger, "load") == (1, 7)
    assert observed(ledger, pipeline=NO_FLOW) == (1, 11)
    assert last(ledger) == LastValue(5, fake.logs.lines[0].line.at)
    assert rejected(ledger) == {}
    assert {key.detail for key in ledger.series if key.metric == REJECTED} == {*Reason}, "a new series starts at zero"


# Each line once


async def test_line_read_again_adds_nothing(fake: FakePrefect, readers: Readers, flow_run: str) -> None:
    fake.logs.emit("rows", 5, flow_run)
    await poll(fake, readers, 1200)
    assert observed(readers.flow_runs.ledger) == (1, 5)


@pytest.mark.parametrize("can_search", [True, False])
@pytest.mark.parametrize("page_limit", [1, 2, 3, 5, 7])
async def test_lines_with_equal_timestamps_across_pages_are_counted_once(
    fake: FakePrefect, readers: Readers, flow_run: str, page_limit: int, can_search: bool
) -> None:
    fake.page_limit, fake.logs.can_search = page_limit, can_search
    for number, second in enumerate((0, 1, 1, 1, 1, 1, 2, 2, 3)):
        fake.logs.emit("rows", 2**number, flow_run, at=fake.now + second)
        fake.logs.write("something else", flow_run, at=fake.now + second)
    fake.now += 10
    await read(readers)
    assert observed(readers.flow_runs.ledger) == (9, 2**9 - 1)
    await poll(fake, readers, 120)
    assert observed(readers.flow_runs.ledger) == (9, 2**9 - 1)


@pytest.mark.parametrize("delay", [1.0, 50.0, SEARCHED.deep - DEEP_EVERY_SECONDS])
async def test_late_batches_are_counted(fake: FakePrefect, readers: Readers, flow_run: str, delay: float) -> None:
    await read(readers)
    fake.logs.delay = delay
    fake.logs.emit("rows", 5, flow_run)
    fake.logs.delay = 0.0
    fake.logs.emit("rows", 7, flow_run)
    await poll(fake, readers, delay + 2 * DEEP_EVERY_SECONDS)
    assert observed(readers.flow_runs.ledger) == (2, 12)


async def test_late_line_behind_newer_ones_is_counted(fake: FakePrefect, readers: Readers, flow_run: str) -> None:
    fake.logs.delay = 300.0
    fake.logs.emit("rows", 5, flow_run)
    fake.logs.delay = 0.0
    for _ in range(20):
        await poll(fake, readers, 15)
        fake.logs.emit("rows", 1, flow_run)
    await poll(fake, readers, 120)
    assert observed(readers.flow_runs.ledger) == (21, 25)


async def test_pruned_lines_are_not_read_again(fake: FakePrefect, readers: Readers, flow_run: str) -> None:
    """Pruned lines are older than the longest overlap."""
    ledger = readers.flow_runs.ledger
    keep = Keep(lookbacks=lookbacks_of(30 * DAY, 7 * DAY), lines=LINES_KEPT_SECONDS, dead_series=7 * DAY)
    for _ in range(30):
        fake.logs.emit("rows", 1, flow_run)
        await poll(fake, readers, 120)
        ledger.prune(fake.now, keep=keep, live=[PIPELINE])
    assert observed(ledger) == (30, 30)
    ids = [sent.line.id for sent in fake.logs.lines]
    assert 0 < len(ledger.counted_lines(ids)) < 20


async def test_line_with_a_timestamp_in_the_future_hides_no_other(
    fake: FakePrefect, readers: Readers, flow_run: str
) -> None:
    await read(readers)
    fake.logs.emit("rows", 5, flow_run, at=fake.now + 3000)
    await poll(fake, readers, 60)
    assert readers.flow_runs.ledger.cursors[LOG_LINES].watermark <= fake.now
    for _ in range(4):
        fake.logs.emit("rows", 1, flow_run)
        await poll(fake, readers, 900)
    assert observed(readers.flow_runs.ledger) == (5, 9)


async def test_idle_server_is_not_searched_ever_further_back(
    fake: FakePrefect, readers: Readers, flow_run: str
) -> None:
    fake.logs.emit("rows", 5, flow_run)
    await poll(fake, readers, 60)
    fake.now += 10 * WINDOW_SECONDS
    await read(readers)
    behind = fake.now - readers.flow_runs.ledger.cursors[LOG_LINES].watermark
    assert behind <= WINDOW_SECONDS + SEARCHED.deep
    asked = fake.requests["log_page"]
    await read(readers)
    assert fake.requests["log_page"] - asked <= 2


# Lines before their task runs


async def test_line_waits_for_its_task_run(fake: FakePrefect, readers: Readers, flow_run: str) -> None:
    fake.tasks.lag = 100.0
    task_run = fake.tasks.begin("load", flow_run)
    fake.logs.emit("rows", 5, flow_run, task_run)
    fake.logs.emit("rows", 7, flow_run)
    await poll(fake, readers, 60)
    ledger = readers.flow_runs.ledger
    assert observed(ledger) == (1, 7), "others do not wait for it"
    assert observed(ledger, "load") == (0, 0)
    await poll(fake, readers, 120)
    assert observed(ledger, "load") == (1, 5)
    assert observed(ledger, DELETED) == (0, 0)


@pytest.mark.parametrize("can_search", [True, False])
async def test_line_whose_task_run_never_appears_is_counted_after_a_while(
    fake: FakePrefect, readers: Readers, flow_run: str, can_search: bool
) -> None:
    fake.logs.can_search = can_search
    patience = (SEARCHED if can_search else UNSEARCHED).patience
    fake.logs.emit("rows", 5, flow_run, fake.new_id())
    await poll(fake, readers, patience - 30)
    ledger = readers.flow_runs.ledger
    assert observed(ledger, DELETED) == (0, 0)
    for _ in range(8):
        fake.logs.emit("rows", 1, flow_run)
        await poll(fake, readers, 15)
    assert observed(ledger, DELETED) == (1, 5)
    await poll(fake, readers, 300)
    assert observed(ledger, DELETED) == (1, 5)


async def test_line_that_waits_is_still_there_after_a_restart(
    fake: FakePrefect, readers: Readers, flow_run: str, make_readers: MakeReaders, open_it: OpenLedger
) -> None:
    fake.tasks.lag = 100.0
    task_run = fake.tasks.begin("load", flow_run)
    fake.logs.emit("rows", 5, flow_run, task_run)
    fake.logs.emit("rows", 7, flow_run)
    await poll(fake, readers, 30)
    readers.flow_runs.close()
    fake.now += 1000
    second = make_readers(open_it())
    await read(second)
    assert observed(second.flow_runs.ledger, "load") == (1, 5)
    assert observed(second.flow_runs.ledger) == (1, 7)


async def test_line_of_a_deleted_flow_run_is_counted_as_deleted(
    fake: FakePrefect, readers: Readers, flow_run: str
) -> None:
    fake.logs.emit("rows", 5, flow_run)
    fake.delete_run(flow_run)
    await read(readers)
    assert observed(readers.flow_runs.ledger, pipeline=Pipeline(DELETED, "")) == (1, 5)


# The baseline, the watermark, restarts


async def test_baseline_is_complete_once_everything_is_read(
    fake: FakePrefect, readers: Readers, flow_run: str, make_readers: MakeReaders, open_it: OpenLedger
) -> None:
    fake.page_limit = 1
    for hours in (50, 30, 2, 1, 0):
        fake.logs.emit("rows", 1, flow_run, at=fake.now - hours * 3600)
    pages = 0

    def fail_in_the_middle(endpoint: str) -> None:
        nonlocal pages
        pages += endpoint == "log_page"
        if endpoint == "log_page" and fake.logs.lines[1].line.id in counted():
            raise DOWN

    def counted() -> set[str]:
        ids = [sent.line.id for sent in fake.logs.lines]
        return readers.flow_runs._thread.submit(readers.flow_runs.ledger.counted_lines, ids).result()

    fake.before_request = fail_in_the_middle
    with pytest.raises(ApiError):
        await read(readers)
    ledger = readers.flow_runs.ledger
    assert not ledger.cursors[LOG_LINES].baseline_complete
    assert observed(ledger) == (2, 2)
    readers.flow_runs.close()
    fake.before_request = lambda _: None
    before = pages
    second = make_readers(open_it())
    await read(second)
    assert pages == before, "the fault is gone"
    assert observed(second.flow_runs.ledger) == (5, 5)
    assert second.flow_runs.ledger.cursors[LOG_LINES].baseline_complete
    assert not second.flow_runs.ledger.in_birth_hold, "series of the baseline are released at once"


async def test_reading_without_a_budget_reads_nothing_and_is_incomplete(fake: FakePrefect, readers: Readers) -> None:
    reading = await readers.log_lines.read(0)
    assert (reading.records, reading.complete) == (0, False)
    assert not readers.flow_runs.ledger.cursors[LOG_LINES].baseline_complete


async def test_many_lines_are_read_in_several_readings(
    fake: FakePrefect, readers: Readers, flow_run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the overlap alone takes longer than a reading may: otherwise new lines would never be read."""
    await read(readers)
    fake.page_limit = 2
    clock = SimpleNamespace(monotonic=lambda: fake.requests["log_page"])
    monkeypatch.setattr("prefect_monitoring.ingest.log_lines.time", clock)
    for _ in range(60):
        fake.now += 1
        fake.logs.emit("rows", 1, flow_run)
    for _ in range(30):
        await readers.log_lines.read(10)
    assert observed(readers.flow_runs.ledger) == (60, 60)


async def test_lines_before_the_horizon_are_not_counted(fake: FakePrefect, readers: Readers, flow_run: str) -> None:
    fake.logs.emit("rows", 5, flow_run, at=fake.now - 31 * DAY)
    fake.logs.emit("rows", 7, flow_run, at=fake.now - 29 * DAY)
    await read(readers)
    assert observed(readers.flow_runs.ledger) == (1, 7)


async def test_month_without_lines_is_read_in_widening_windows(fake: FakePrefect, readers: Readers) -> None:
    asked: list[tuple[float, float | None]] = []
    original = fake.logs.page

    async def note(after: float, before: float | None, offset: int):
        asked.append((after, before))
        return await original(after, before, offset)

    fake.logs.page = note  # type: ignore[method-assign]
    await read(readers)
    assert asked[-1][1] is None
    widths = [before - after for after, before in asked[:-1] if before is not None]
    assert widths[:3] == [WINDOW_SECONDS, 2 * WINDOW_SECONDS, 4 * WINDOW_SECONDS]
    assert max(widths) == MAX_WINDOW_SECONDS
    assert [after for after, _ in asked[1:]] == [before for _, before in asked[:-1]]


# Excluded, capped, rejected


async def test_excluded_lines_are_remembered_and_not_counted(
    fake: FakePrefect, make_readers: MakeReaders, flow_run: str
) -> None:
    readers = make_readers(exclude_flows="e.*")
    line = fake.logs.emit("rows", 5, flow_run)
    fake.logs.write("METRIC: rows=oops", flow_run)
    await read(readers)
    ledger = readers.flow_runs.ledger
    assert {key.metric for key in ledger.series} <= {REJECTED}
    assert ledger.values == {}
    assert rejected(ledger) == {}
    assert ledger.counted_lines([line]) == {line}


async def test_series_of_a_pipeline_beyond_the_cap_are_rejected_and_existing_ones_go_on(
    fake: FakePrefect, make_readers: MakeReaders, flow_run: str, open_it: OpenLedger
) -> None:
    readers = make_readers(max_custom_metrics=2)
    for customer in ("a", "b", "c", "a"):
        fake.now += 1
        fake.logs.emit("rows", 1, flow_run, customer=customer)
    await read(readers)
    assert observed(readers.flow_runs.ledger) == (3, 3)
    assert rejected(readers.flow_runs.ledger) == {"too_many": 1}
    readers.flow_runs.close()
    second = make_readers(open_it(), max_custom_metrics=2)
    for customer in ("d", "b"):
        fake.now += 1
        fake.logs.emit("rows", 1, flow_run, customer=customer)
    await read(second)
    assert observed(second.flow_runs.ledger) == (4, 4)
    assert rejected(second.flow_runs.ledger) == {"too_many": 2}


async def test_values_of_a_task_beyond_the_cap_are_kept_under_other(
    fake: FakePrefect, make_readers: MakeReaders, flow_run: str
) -> None:
    readers = make_readers(max_tasks=1)
    for task in ("extract", "load"):
        fake.logs.emit("rows", 5, flow_run, fake.tasks.begin(task, flow_run))
    await read(readers)
    assert observed(readers.flow_runs.ledger, OTHER) == (1, 5)


async def test_rejected_value_is_logged_once_without_the_line(
    fake: FakePrefect, readers: Readers, flow_run: str, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        fake.logs.write("METRIC: rows=s3cret", flow_run)
        fake.now += 1
    with caplog.at_level(logging.DEBUG):
        await poll(fake, readers, 60)
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "flow 'etl'" in warnings[0]
    assert "malformed" in warnings[0]
    assert "s3cret" not in caplog.text
    assert rejected(readers.flow_runs.ledger) == {"malformed": 3}


# Failures that a retry saved


async def test_saved_and_final_failures_add_up_to_all_failed_attempts(
    fake: FakePrefect, readers: Readers, flow_run: str
) -> None:
    run = fake.tasks.begin("load", flow_run)
    fake.tasks.fail_and_retry(run, fake.logs, "HTTPError('429 Too Many Requests')")
    fake.tasks.fail_and_retry(run, fake.logs, "HTTPError('429 Too Many Requests')", delay=10.0)
    fake.tasks.finish(run, 1.0, "Failed", "Task run encountered an exception: HTTP 429")
    await readers.task_runs.read_finished(60)
    await read(readers)
    ledger = readers.flow_runs.ledger
    assert ledger.series[SeriesKey(TASK_FAILURES, PIPELINE, "rate_limit", "load")].value == 3
    await poll(fake, readers, 120)
    assert ledger.series[SeriesKey(TASK_FAILURES, PIPELINE, "rate_limit", "load")].value == 3


# Faults


@pytest.mark.parametrize("endpoint", ["flow_runs", "flows", "tasks_by_id"])
async def test_lines_of_an_unreadable_run_are_retried(
    fake: FakePrefect, readers: Readers, flow_run: str, endpoint: str
) -> None:
    fake.logs.emit("rows", 5, flow_run, fake.tasks.begin("load", flow_run))
    fake.broken[endpoint] = DOWN
    for _ in range(2):
        with pytest.raises(ApiError, match="the server failed"):
            await read(readers)
    assert not readers.flow_runs.ledger.cursors[LOG_LINES].baseline_complete
    fake.broken.clear()
    fake.now += 2000
    await read(readers)
    assert observed(readers.flow_runs.ledger, "load") == (1, 5)


async def test_windows_narrow_down_to_an_hour_while_the_server_is_slow(
    fake: FakePrefect, readers: Readers, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[float, float | None]] = []
    original = fake.logs.page

    async def slow(after: float, before: float | None, offset: int):
        asked.append((after, before))
        return await original(after, before, offset)

    fake.logs.page = slow  # type: ignore[method-assign]
    monkeypatch.setattr("prefect_monitoring.ingest.log_lines.QUICK_SECONDS", -1.0)
    await read(readers)
    assert {before - after for after, before in asked if before is not None} == {WINDOW_SECONDS}


async def test_fast_clock_of_the_exporter_misses_no_line(fake: FakePrefect, readers: Readers, flow_run: str) -> None:
    """Lines are found by the clocks that wrote them, even after a pause."""
    readers.flow_runs.clock = lambda: fake.now + 1800
    await read(readers)
    fake.now += 600
    await read(readers)
    for _ in range(3):
        fake.now += 20
        fake.logs.emit("rows", 1, flow_run)
        await read(readers)
    assert observed(readers.flow_runs.ledger) == (3, 3)
