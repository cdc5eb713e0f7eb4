"""What observed task runs add, in whatever order and however often they are read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_monitoring.analysis.failure_causes import cause_of
from prefect_monitoring.counting.task_runs import ObservedTaskRun, fold_tasks, needs_task_history
from prefect_monitoring.model.changes import Changes, KnownTaskRun, SeriesKey
from prefect_monitoring.model.counted_metrics import (
    TASK_DURATION,
    TASK_FAILURES,
    TASK_OUTCOMES,
    TASK_RETRIES,
    TASK_SECONDS,
    zero_born_task_series,
)
from prefect_monitoring.model.records import Pipeline, State, TaskRun
from support.examples import examples
from unit.fake_details import FakeTasks
from unit.fake_prefect import FakePrefect

PIPELINE = Pipeline("etl", "daily")
LOAD = "load"
STATE_TYPES = {"Completed": "COMPLETED", "Cached": "COMPLETED", "RolledBack": "COMPLETED"}


def state(number: int, name: str, at: float, message: str = "") -> State:
    return State(f"s{number}", STATE_TYPES.get(name, name.upper()), name, at, message)


def run_of(present: State, *, ended_at: float | None, attempts: int = 1, run_time: float = 5.0) -> TaskRun:
    return TaskRun("t", LOAD, "r", 1, present, attempts, 100.0, ended_at, run_time)


def observed(run: TaskRun, *history: State, pipeline: Pipeline | None = PIPELINE) -> ObservedTaskRun:
    return ObservedTaskRun(run, pipeline, run.task, history)


def fold(
    *observed_runs: ObservedTaskRun, known: Mapping[str, KnownTaskRun] | None = None, horizon: float = 0.0
) -> Changes:
    return fold_tasks(known or {}, horizon, observed_runs, cause_of)


def outcomes(changes: Changes) -> dict[str, float]:
    return {key.detail: count for key, count in changes.increments.items() if key.metric == TASK_OUTCOMES}


COMPLETED = state(3, "Completed", 110.0)
ROLLED_BACK = state(4, "RolledBack", 112.0)
DONE = observed(run_of(COMPLETED, ended_at=110.0, attempts=3))
UNDONE = observed(run_of(ROLLED_BACK, ended_at=110.0, attempts=3), COMPLETED, ROLLED_BACK)


def test_completed_task_run_adds_outcome_and_duration() -> None:
    changes = fold(DONE)
    assert changes.increments == {
        SeriesKey(TASK_OUTCOMES, PIPELINE, "completed", LOAD): 1,
        SeriesKey(TASK_RETRIES, PIPELINE, task=LOAD): 2,
        SeriesKey(TASK_SECONDS, PIPELINE, task=LOAD): 5.0,
    }
    assert changes.observations == {SeriesKey(TASK_DURATION, Pipeline("etl", ""), task=LOAD): [5.0]}
    assert changes.zero_born == set(zero_born_task_series(PIPELINE, LOAD))
    assert changes.moved == {PIPELINE}
    assert changes.task_runs == {"t": KnownTaskRun("t", "r", LOAD, "s3", "COMPLETED", 110.0, 3, 100.0, 110.0, 5.0)}
    assert not changes.counted, "only states of flow runs are in it"


def test_zero_born_series_of_a_task_are_what_dashboards_query() -> None:
    zero_born = set(zero_born_task_series(PIPELINE, LOAD))
    assert zero_born == {
        *(SeriesKey(TASK_OUTCOMES, PIPELINE, one, LOAD) for one in ("completed", "failed")),
        SeriesKey(TASK_SECONDS, PIPELINE, task=LOAD),
        SeriesKey(TASK_RETRIES, PIPELINE, task=LOAD),
    }


@pytest.mark.parametrize(
    ("name", "state_type", "label", "is_failure"),
    [
        ("Completed", "COMPLETED", "completed", False),
        ("Cached", "COMPLETED", "cached", False),
        ("Skipped", "COMPLETED", "skipped", False),
        ("A name of the user's", "COMPLETED", "completed", False),
        ("Failed", "FAILED", "failed", True),
        ("TimedOut", "FAILED", "timed_out", True),
        ("Crashed", "CRASHED", "crashed", True),
        ("Cancelled", "CANCELLED", "cancelled", False),
    ],
)
def test_every_ending_has_its_name(name: str, state_type: str, label: str, is_failure: bool) -> None:
    changes = fold(observed(run_of(State("s", state_type, name, 110.0, "HTTP 429"), ended_at=110.0)))
    assert outcomes(changes) == {label: 1}
    failures = {key.detail: count for key, count in changes.increments.items() if key.metric == TASK_FAILURES}
    assert failures == ({"rate_limit": 1} if is_failure else {})


def test_task_run_that_is_not_over_is_not_counted() -> None:
    running = State("s", "RUNNING", "Running", 100.0, "")
    assert fold(observed(run_of(running, ended_at=None))) == Changes()


# Order and duplicates


def test_repeated_state_adds_nothing() -> None:
    once = fold(DONE)
    assert fold(DONE, DONE) == once
    assert fold(DONE, known=once.task_runs) == Changes()
    assert not needs_task_history(DONE.run, once.task_runs["t"])


def test_roll_back_after_the_completion_adds_one_outcome() -> None:
    first = fold(DONE)
    second = fold(UNDONE, known=first.task_runs)
    assert second.increments == {SeriesKey(TASK_OUTCOMES, PIPELINE, "rolled_back", LOAD): 1}
    assert not second.observations, "it ran no second time"
    assert second.task_runs["t"].kind == "RolledBack"
    assert fold(DONE, known=second.task_runs) == Changes(), "an old page changes nothing"


def test_roll_back_alone_implies_the_completion_before_it() -> None:
    changes = fold(UNDONE)
    assert outcomes(changes) == {"completed": 1, "rolled_back": 1}
    assert changes.increments[SeriesKey(TASK_SECONDS, PIPELINE, task=LOAD)] == 5.0
    assert changes.increments[SeriesKey(TASK_RETRIES, PIPELINE, task=LOAD)] == 2
    assert [*changes.observations.values()] == [[5.0]]
    assert fold(UNDONE, DONE) == changes
    assert outcomes(fold(DONE, UNDONE)) == outcomes(changes)


def test_states_newer_than_the_current_one_are_left_to_the_next_reading() -> None:
    """The history is asked for after the run."""
    changes = fold(observed(run_of(COMPLETED, ended_at=110.0), COMPLETED, ROLLED_BACK))
    assert outcomes(changes) == {"completed": 1}
    assert outcomes(fold(UNDONE, known=changes.task_runs)) == {"rolled_back": 1}


def test_state_set_by_hand_adds_one_outcome() -> None:
    failed = state(3, "Failed", 110.0, "boom")
    by_hand = state(5, "Completed", 500.0)
    first = fold(observed(run_of(failed, ended_at=110.0)))
    second = fold(observed(run_of(by_hand, ended_at=110.0), failed, by_hand), known=first.task_runs)
    assert second.increments == {SeriesKey(TASK_OUTCOMES, PIPELINE, "completed", LOAD): 1}


def test_run_that_ran_again_adds_only_its_new_attempts_and_seconds() -> None:
    failed = state(3, "Failed", 110.0)
    again = state(6, "Completed", 130.0)
    first = fold(observed(run_of(failed, ended_at=110.0, attempts=2, run_time=5.0)))
    later = run_of(again, ended_at=130.0, attempts=4, run_time=12.0)
    second = fold(observed(later, failed, again), known=first.task_runs)
    assert second.increments == {
        SeriesKey(TASK_OUTCOMES, PIPELINE, "completed", LOAD): 1,
        SeriesKey(TASK_RETRIES, PIPELINE, task=LOAD): 2,
        SeriesKey(TASK_SECONDS, PIPELINE, task=LOAD): 7.0,
    }


# When the history is needed


@pytest.mark.parametrize(
    ("run", "needed"),
    [
        (DONE.run, False),
        (UNDONE.run, True),
        (run_of(state(5, "Completed", 500.0), ended_at=110.0), True),
    ],
)
def test_history_is_requested_where_a_state_may_be_hidden(run: TaskRun, needed: bool) -> None:
    assert needs_task_history(run, None) == needed


def test_history_is_requested_when_the_state_changed() -> None:
    known = fold(DONE).task_runs["t"]
    assert needs_task_history(run_of(state(9, "Completed", 120.0), ended_at=120.0), known)


# The server has written the run, but not yet its state


SILENT = replace(run_of(state(3, "Failed", 110.0), ended_at=110.0), message_known=False)
TOLD = state(3, "Failed", 110.0, "Task run encountered an exception ConnectionError: reset by peer")


def test_missing_cause_is_read_from_the_history() -> None:
    assert needs_task_history(SILENT, None)
    assert not needs_task_history(replace(DONE.run, message_known=False), None), "a success has no cause"
    changes = fold(observed(SILENT, TOLD))
    assert outcomes(changes) == {"failed": 1}
    assert changes.increments[SeriesKey(TASK_FAILURES, PIPELINE, "connection", LOAD)] == 1
    whole = observed(run_of(TOLD, ended_at=110.0))
    assert fold(whole, known=changes.task_runs) == Changes(), "it is counted"


def test_run_without_its_last_state_is_still_counted() -> None:
    """The server died between the two."""
    changes = fold(observed(SILENT))
    assert outcomes(changes) == {"failed": 1}
    assert changes.increments[SeriesKey(TASK_FAILURES, PIPELINE, cause_of(""), LOAD)] == 1


# Excluded, forgotten, nameless


def test_excluded_task_run_is_remembered_and_not_counted() -> None:
    changes = fold(replace(DONE, pipeline=None))
    assert not changes.increments
    assert not changes.observations
    assert not changes.zero_born
    assert changes.task_runs.keys() == {"t"}


def test_task_run_that_ended_before_the_horizon_is_not_counted() -> None:
    assert fold(DONE, horizon=110.1) == Changes()
    assert outcomes(fold(DONE, horizon=110.0)) == {"completed": 1}
    known = fold(DONE).task_runs
    assert outcomes(fold(UNDONE, known=known, horizon=111.0)) == {"rolled_back": 1}, "a known run is still counted"


def test_task_is_counted_under_its_given_name() -> None:
    changes = fold(replace(DONE, task="(other)"))
    assert {key.task for key in (*changes.increments, *changes.zero_born, *changes.observations)} == {"(other)"}
    assert changes.task_runs["t"].task == LOAD, "the ledger remembers what it is really called"


# Random sequences, against the model

ENDINGS = ("Completed", "Cached", "Failed", "TimedOut", "Crashed", "Cancelled")
lives = st.tuples(st.integers(0, 3), st.sampled_from(ENDINGS), st.booleans())


def live(tasks: FakeTasks, fake: FakePrefect, life: tuple[int, str, bool]) -> str:
    retries, ending, rolled_back = life
    run = tasks.begin(LOAD, None)
    for attempt in range(retries):
        fake.now += 1 + attempt
        tasks.fail_and_retry(run, fake.logs, delay=float(attempt))
    tasks.finish(run, 2.0, ending, "HTTP 429")
    if rolled_back and ending == "Completed":
        tasks.roll_back(run)
    return run


def everything_seen(tasks: FakeTasks) -> Iterable[ObservedTaskRun]:
    """Each run as it can be seen at each instant of its life, with as much of its history as there is then."""
    for run in tasks.runs.values():
        for index, state in enumerate(run.states):
            record = run.record(state.at)
            if record is not None:
                yield ObservedTaskRun(record, PIPELINE, LOAD, tuple(run.states[: index + 1]))


@settings(max_examples=examples(60), deadline=None)
@given(st.lists(lives, min_size=1, max_size=6), st.randoms(use_true_random=False), st.integers(1, 5))
def test_task_runs_in_any_order_are_counted_exactly_once(
    stories: list[tuple[int, str, bool]], random: object, batch: int
) -> None:
    fake = FakePrefect()
    runs = [live(fake.tasks, fake, story) for story in stories]
    observed_runs = list(everything_seen(fake.tasks)) * 2
    # Every order that the end of each run is a part of: nobody could tell what nobody ever saw.
    random.shuffle(observed_runs)  # type: ignore[attr-defined]
    known: dict[str, KnownTaskRun] = {}
    totals: Counter[SeriesKey] = Counter()
    for start in range(0, len(observed_runs), batch):
        changes = fold_tasks(known, 0.0, observed_runs[start : start + batch], cause_of)
        known |= changes.task_runs
        totals.update(changes.increments)  # type: ignore[arg-type]
    truth = [fake.tasks.runs[run] for run in runs]
    ends = Counter(state.label for run in truth for state in run.states if state.is_terminal)
    assert {key.detail: n for key, n in totals.items() if key.metric == TASK_OUTCOMES} == ends
    retries = sum(run.attempts - 1 for run in truth)
    assert totals[SeriesKey(TASK_RETRIES, PIPELINE, task=LOAD)] == retries
    assert totals[SeriesKey(TASK_SECONDS, PIPELINE, task=LOAD)] == pytest.approx(sum(run.run_time for run in truth))
    bad = sum(one.type in {"FAILED", "CRASHED"} for run in truth for one in run.states)
    assert totals[SeriesKey(TASK_FAILURES, PIPELINE, "rate_limit", LOAD)] == bad


def test_task_run_that_runs_again_but_kept_its_end_is_not_over() -> None:
    assert fold(observed(run_of(state(5, "Running", 115.0), ended_at=110.0))).task_runs == {}
