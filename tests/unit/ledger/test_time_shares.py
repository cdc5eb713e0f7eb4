"""The share of a flow run's time during which each task ran: at most all of it, whatever overlaps."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from prefect_monitoring.ledger.ledger import Ledger
from prefect_monitoring.ledger.time_shares import covered
from prefect_monitoring.model.changes import Changes, KnownTaskRun
from prefect_monitoring.model.cursor import TASK_RUNS
from prefect_monitoring.model.records import Pipeline
from unit.ledger_values import KEEP, NOW, baseline_cursor, outcome, run_id
from unit.rig import DAY

PIPELINE = Pipeline("etl", "daily")
LONG = 60

points = st.integers(-5, LONG + 5)
spans = st.tuples(points, points).map(lambda ends: (float(min(ends)), float(max(ends))))


@given(st.lists(spans, max_size=12), spans)
def test_covered_equals_a_count_second_by_second(many: list[tuple[float, float]], whole: tuple) -> None:
    seconds = range(int(whole[0]), int(whole[1]))
    expected = sum(any(start <= second < end for start, end in many) for second in seconds)
    assert covered(many, whole) == expected
    assert covered(reversed(many), whole) == expected
    assert covered(many * 2, whole) == expected


def test_nothing_covers_nothing() -> None:
    assert covered([], (0.0, 10.0)) == 0
    assert covered([(3.0, 3.0)], (0.0, 10.0)) == 0
    assert covered([(0.0, 9.0)], (5.0, 5.0)) == 0


def task_run(number: int, flow_run: int, task: str, ended_at: float, run_time: float) -> KnownTaskRun:
    return KnownTaskRun(
        run_id(900_000 + number), run_id(flow_run), task, run_id(1), "COMPLETED", ended_at, 1, None, ended_at, run_time
    )


def write(ledger: Ledger, *runs: KnownTaskRun) -> None:
    ledger.commit(Changes(task_runs={run.run_id: run for run in runs}, moved={PIPELINE}), None, NOW, TASK_RUNS)


def shares(ledger: Ledger) -> dict[str, float]:
    return dict(ledger.run_stats([PIPELINE], NOW)[PIPELINE].time_shares)


def test_shares_are_of_the_last_finished_run_by_task(ledger: Ledger) -> None:
    ledger.commit(outcome(1, NOW - 100, seconds=50.0), baseline_cursor(ledger), NOW)
    ledger.commit(outcome(2, NOW, seconds=100.0, state_type="FAILED"), None, NOW)
    write(
        ledger,
        task_run(1, 1, "of another run", NOW - 100, 50.0),
        task_run(2, 2, "extract", NOW - 60, 40.0),
        task_run(3, 2, "load", NOW, 50.0),
        task_run(4, 2, "load", NOW - 10, 50.0),
        task_run(5, 2, "began before the run", NOW - 90, 500.0),
    )
    assert shares(ledger) == {"extract": 0.4, "load": 0.6, "began before the run": 0.1}


def test_run_without_a_duration_has_no_shares(ledger: Ledger) -> None:
    ledger.commit(outcome(1, NOW - 100, seconds=50.0), baseline_cursor(ledger), NOW)
    ledger.commit(outcome(2, NOW, state_type="CRASHED", seconds=0.0), None, NOW)
    write(ledger, task_run(1, 2, "load", NOW, 10.0))
    assert shares(ledger) == {}


def test_shares_of_the_last_run_outlive_task_runs_of_other_runs(ledger: Ledger) -> None:
    for number, at in ((1, NOW), (2, NOW + 1)):
        ledger.commit(outcome(number, at, seconds=10.0), baseline_cursor(ledger, at), NOW)
        write(ledger, task_run(number, number, "load", at, 5.0), task_run(9, 3, "elsewhere", NOW, 5.0))
    cursor = ledger.cursors[TASK_RUNS]
    ledger.commit(Changes(), type(cursor)(NOW + 20 * DAY, cursor.horizon, baseline_complete=True), NOW, TASK_RUNS)
    ledger.prune(NOW + 20 * DAY, keep=KEEP, live=[PIPELINE])
    assert shares(ledger) == {"load": 0.5}
    known = ledger.known_task_runs([run_id(900_000 + number) for number in (1, 2, 9)])
    assert {run.flow_run_id for run in known.values()} == {run_id(2)}


instants = st.integers(0, 100_000_000).map(lambda microseconds: NOW + microseconds / 1e6)


@given(
    st.tuples(instants, instants).filter(lambda ends: ends[0] != ends[1]),
    st.lists(st.tuples(instants, st.floats(0.0, 200.0)), max_size=8),
)
def test_share_is_never_more_than_the_whole(ends: tuple[float, float], tasks: list[tuple[float, float]]) -> None:
    """Despite rounding of timestamps, for runs of any length."""
    duration = max(ends) - min(ends)
    whole = (max(ends) - duration, max(ends))
    many = [(ended_at - run_time, ended_at) for ended_at, run_time in tasks]
    assert 0 <= covered(many, whole) / duration <= 1
    assert covered([*many, (whole[0] - 1, whole[1])], whole) / duration == 1
