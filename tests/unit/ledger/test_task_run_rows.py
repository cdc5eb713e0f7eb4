"""Task runs, counted lines and last values in the ledger: kept through restarts, and pruned when no longer needed."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

from prefect_monitoring.ledger.ledger import Ledger
from prefect_monitoring.model.changes import Changes, KnownTaskRun, LastValue, SeriesKey
from prefect_monitoring.model.counted_metrics import (
    CUSTOM_OBSERVED,
    CUSTOM_VALUE,
    DEFAULT_BOUNDS,
    REJECTED,
    TASK_DURATION,
    TASK_SECONDS,
)
from prefect_monitoring.model.cursor import FLOW_RUNS, LOG_LINES, TASK_RUNS, Cursor
from prefect_monitoring.model.records import NO_FLOW, Pipeline
from unit.ledger_values import KEEP, NOW, baseline_cursor, lookbacks_of, memory_of, outcome, run_id
from unit.rig import DAY, OpenLedger

PIPELINE = Pipeline("etl", "daily")
ROWS = SeriesKey(CUSTOM_VALUE, PIPELINE, "rows", "load", (("table", 'o"r\\ders'),))


def details_of(number: int, pipeline: Pipeline = PIPELINE, at: float = NOW) -> Changes:
    """What the folds make of one task run and one METRIC line."""
    run = KnownTaskRun(run_id(number), run_id(1), "load", run_id(number + 1), "COMPLETED", at, 2, at - 9, at, 5.0)
    return Changes(
        task_runs={run.run_id: run},
        lines={run_id(number + 2): at},
        values={ROWS._replace(pipeline=pipeline): LastValue(float(number), at)},
        increments=defaultdict(float, {SeriesKey(TASK_SECONDS, pipeline, task="load"): 5.0}),
        observations=defaultdict(list, {ROWS._replace(metric=CUSTOM_OBSERVED, pipeline=pipeline): [float(number)]}),
    )


def test_details_survive_a_restart(open_it: OpenLedger) -> None:
    first = open_it()
    first.commit(details_of(10), baseline_cursor_of(first, LOG_LINES), NOW, LOG_LINES)
    outside = replace(next(iter(details_of(20).task_runs.values())), flow_run_id=None, started_at=None)
    first.commit(Changes(task_runs={outside.run_id: outside}), baseline_cursor_of(first, TASK_RUNS), NOW, TASK_RUNS)
    before = memory_of(first)
    first.close()
    second = open_it(now=NOW + 99)
    assert memory_of(second) == before
    assert second.values == {ROWS: LastValue(10.0, NOW)}
    known = second.known_task_runs([run_id(10), run_id(20), run_id(30)])
    assert known == {**details_of(10).task_runs, run_id(20): outside}
    assert second.counted_lines([run_id(12), run_id(13)]) == {run_id(12)}
    assert second.ended_by_kind(TASK_RUNS, 0, NOW) == {"COMPLETED": 2}
    assert second.ended_by_kind(FLOW_RUNS, 0, NOW) == {}


def baseline_cursor_of(ledger: Ledger, source: str, watermark: float = NOW) -> Cursor:
    return Cursor(watermark, ledger.cursors[source].horizon, baseline_complete=True)


def test_each_source_has_its_own_baseline(ledger: Ledger) -> None:
    ledger.commit(outcome(1), baseline_cursor(ledger), NOW)
    ledger.commit(details_of(10), None, NOW, TASK_RUNS)
    assert ledger.in_birth_hold == set(), "the baseline of task runs is being loaded"
    ledger.commit(Changes(), baseline_cursor_of(ledger, TASK_RUNS), NOW, TASK_RUNS)
    ledger.commit(details_of(20, Pipeline("new", "")), None, NOW, TASK_RUNS)
    assert {key.pipeline for key in ledger.in_birth_hold} == {Pipeline("new", "")}
    assert not ledger.cursors[LOG_LINES].baseline_complete


def test_disabled_metrics_are_not_kept(open_it: OpenLedger) -> None:
    ledger = open_it(bounds={})
    ledger.commit(details_of(10), None, NOW, TASK_RUNS)
    assert {key.metric for key in ledger.series} == {TASK_SECONDS}
    ledger.close()
    again = open_it()
    again.commit(details_of(20), None, NOW, TASK_RUNS)
    assert {key.metric for key in again.series} == {TASK_SECONDS, CUSTOM_OBSERVED}


def test_reenabled_histogram_resumes_where_it_stopped(open_it: OpenLedger) -> None:
    with_tasks = {**DEFAULT_BOUNDS, TASK_DURATION: (1.0, 10.0)}
    key = SeriesKey(TASK_DURATION, Pipeline("etl", ""), task="load")
    changes = Changes(observations=defaultdict(list, {key: [5.0]}))
    for bounds, count in ((with_tasks, 1), (DEFAULT_BOUNDS, 1), (with_tasks, 2)):
        ledger = open_it(bounds=bounds)
        ledger.commit(changes, baseline_cursor_of(ledger, TASK_RUNS), NOW, TASK_RUNS)
        assert ledger.series[key].buckets == (0, count, 0)
        ledger.close()
    other = open_it(bounds={**DEFAULT_BOUNDS, TASK_DURATION: (60.0,)})
    assert key not in other.series


def test_prune_forgets_task_runs_and_lines_behind_the_cursors(ledger: Ledger) -> None:
    old = NOW - 5 * DAY
    for number, at in ((100, old), (200, NOW)):
        ledger.commit(details_of(number, at=at), baseline_cursor_of(ledger, LOG_LINES), NOW, LOG_LINES)
    ledger.commit(Changes(), baseline_cursor_of(ledger, TASK_RUNS), NOW, TASK_RUNS)
    ledger.prune(NOW, keep=replace(KEEP, lookbacks=lookbacks_of(30 * DAY, 3 * DAY)), live=[PIPELINE])
    assert ledger.known_task_runs([run_id(100), run_id(200)]).keys() == {run_id(200)}
    assert ledger.counted_lines([run_id(102), run_id(202)]) == {run_id(202)}
    assert ledger.cursors[TASK_RUNS].horizon == NOW - 3 * DAY
    assert ledger.cursors[LOG_LINES].horizon == NOW - 3 * DAY
    assert ledger.series[SeriesKey(TASK_SECONDS, PIPELINE, task="load")].value == 10


def test_prune_keeps_rows_that_may_be_read_again(ledger: Ledger) -> None:
    """After a long outage the sources are far behind: what they counted there must not be forgotten."""
    behind = NOW - 6 * DAY
    for source in (TASK_RUNS, LOG_LINES):
        ledger.commit(details_of(100, at=behind), baseline_cursor_of(ledger, source, behind), NOW, source)
    ledger.prune(NOW, keep=replace(KEEP, lookbacks=lookbacks_of(30 * DAY, 3 * DAY)), live=[PIPELINE])
    assert ledger.known_task_runs([run_id(100)])
    assert ledger.counted_lines([run_id(102)])


def test_last_values_expire_only_for_deleted_pipelines(ledger: Ledger) -> None:
    gone = Pipeline("gone", "")
    for pipeline in (PIPELINE, gone):
        ledger.commit(details_of(10, pipeline), baseline_cursor_of(ledger, LOG_LINES), NOW, LOG_LINES)
    ledger.prune(NOW, keep=KEEP, live=[PIPELINE])
    assert ledger.values.keys() == {ROWS}
    ledger.prune(NOW + 70 * DAY, keep=KEEP, live=[PIPELINE])
    assert ledger.values == {}, "nobody has told it for two months"


def test_series_without_a_flow_do_not_expire(ledger: Ledger) -> None:
    """Task runs outside flows and the exporter's own counters do not depend on a flow."""
    own = SeriesKey(REJECTED, NO_FLOW, "malformed")
    changes = details_of(10, NO_FLOW)
    changes.increments[own] += 3
    ledger.commit(changes, baseline_cursor_of(ledger, LOG_LINES), NOW, LOG_LINES)
    ledger.prune(NOW + 60, keep=KEEP, live=[PIPELINE])
    assert ROWS._replace(pipeline=NO_FLOW) in ledger.values
    ledger.prune(NOW + 8 * DAY, keep=KEEP, live=[PIPELINE])
    assert own in ledger.series, "a counter that comes back at zero looks like a reset"
    assert SeriesKey(TASK_SECONDS, NO_FLOW, task="load") in ledger.series


def test_mark_gone_of_one_source_leaves_the_others(ledger: Ledger) -> None:
    ledger.commit(outcome(1), baseline_cursor(ledger), NOW)
    ledger.commit(details_of(10), None, NOW, TASK_RUNS)
    assert ledger.mark_gone(TASK_RUNS, 0, NOW, ()) == 1
    assert ledger.ended_by_kind(TASK_RUNS, 0, NOW) == {}
    assert ledger.ended_by_kind(FLOW_RUNS, 0, NOW) == {"COMPLETED": 1}
    assert ledger.known_task_runs([run_id(10)]).keys() == {run_id(10)}, "it stays known: it must not be counted again"


def test_pipelines_of_known_runs(ledger: Ledger) -> None:
    ledger.commit(outcome(1), baseline_cursor(ledger), NOW)
    excluded = replace(next(iter(outcome(2).runs.values())), pipeline=None)
    ledger.commit(Changes(runs={excluded.run_id: excluded}), None, NOW)
    found = ledger.pipelines_of([run_id(number) for number in (1, 2, 3)])
    assert found == {run_id(1): PIPELINE, run_id(2): None}
