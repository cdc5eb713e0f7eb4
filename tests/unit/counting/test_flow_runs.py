"""What observed flow runs add, in whatever order and however often they are read."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_monitoring.analysis.failure_causes import cause_of
from prefect_monitoring.counting.flow_runs import Known, ObservedRun, fold, needs_history
from prefect_monitoring.model.changes import Changes, KnownRun, Result, SeriesKey
from prefect_monitoring.model.counted_metrics import (
    DURATION,
    FAILURES,
    OUTCOMES,
    RETRIES,
    START_DELAY,
    zero_born_series,
)
from prefect_monitoring.model.records import FlowRun, Pipeline, State
from support.examples import examples
from unit.fake_prefect import FakePrefect, ServerRun

PIPELINE = Pipeline("etl", "daily")
NOTHING = Known({}, frozenset(), 0.0)


def after(known: Known, changes: Changes) -> Known:
    return Known({**known.runs, **changes.runs}, known.counted | changes.counted, known.horizon)


def run_of(
    *states: State, attempts: int = 1, started_at: float | None = 100.0, ended_at: float | None = None
) -> FlowRun:
    return FlowRun("r", "run", "f", "d", "", (), states[-1], attempts, False, 90.0, started_at, ended_at)


def state(number: int, state_type: str, at: float, name: str = "", message: str = "") -> State:
    return State(f"s{number}", state_type, name or state_type.capitalize(), at, message)


def test_completed_run_adds_outcome_duration_and_start_delay() -> None:
    end = state(3, "COMPLETED", 130.0)
    changes = fold(NOTHING, [ObservedRun(run_of(end, ended_at=130.0), PIPELINE)], cause_of)
    assert changes.increments == {SeriesKey(OUTCOMES, PIPELINE, "completed"): 1}
    assert changes.observations == {SeriesKey(DURATION, PIPELINE): [30.0], SeriesKey(START_DELAY, PIPELINE): [10.0]}
    assert changes.counted == {("r", "s3")}
    assert changes.last_outcomes == {(PIPELINE, "completed"): 130.0}
    assert changes.zero_born == set(zero_born_series(PIPELINE))
    rollup = changes.rollups[PIPELINE, 0]
    assert (rollup.good, rollup.bad, rollup.timed, rollup.seconds) == (1, 0, 1, 30.0)
    assert changes.runs["r"] == KnownRun(
        *("r", PIPELINE, "s3", "COMPLETED", 130.0, 1),
        start_counted=True,
        ended_at=130.0,
        duration=30.0,
        started_at=100.0,
        start_delay=10.0,
    )


def test_crash_before_start_has_neither_duration_nor_delay() -> None:
    end = state(2, "CRASHED", 95.0, message="could not submit to infrastructure")
    changes = fold(NOTHING, [ObservedRun(run_of(end, attempts=0, started_at=95.0, ended_at=95.0), PIPELINE)], cause_of)
    assert changes.increments == {
        SeriesKey(OUTCOMES, PIPELINE, "crashed"): 1,
        SeriesKey(FAILURES, PIPELINE, "infrastructure"): 1,
    }
    assert not changes.observations
    assert changes.runs["r"].duration is None
    assert not changes.runs["r"].start_counted


def test_retry_begins_a_new_duration() -> None:
    """Waiting for the retry is part of no duration, and the start of a retry has no start delay."""
    history = (
        state(1, "RUNNING", 100.0),
        state(2, "FAILED", 120.0, message="HTTP 429"),
        state(3, "SCHEDULED", 121.0, "AwaitingRetry"),
        state(4, "RUNNING", 4000.0),
        state(5, "COMPLETED", 4007.0),
    )
    run = replace(run_of(history[-1], attempts=2, ended_at=4007.0))
    changes = fold(NOTHING, [ObservedRun(run, PIPELINE, history)], cause_of)
    assert changes.observations[SeriesKey(DURATION, PIPELINE)] == [7.0]
    assert changes.observations[SeriesKey(START_DELAY, PIPELINE)] == [10.0]
    assert changes.increments == {
        SeriesKey(OUTCOMES, PIPELINE, "failed"): 1,
        SeriesKey(OUTCOMES, PIPELINE, "completed"): 1,
        SeriesKey(FAILURES, PIPELINE, "rate_limit"): 1,
        SeriesKey(RETRIES, PIPELINE): 1,
    }
    assert {hour: (t.good, t.bad) for (_, hour), t in changes.rollups.items()} == {3600: (1, 0)}, (
        "one run, its last state"
    )


def test_in_process_retries_are_one_duration_from_the_first_running_state() -> None:
    history = (
        state(1, "RUNNING", 100.0),
        state(2, "SCHEDULED", 110.0, "AwaitingRetry"),
        state(3, "RUNNING", 115.0, "Retrying"),
        state(4, "COMPLETED", 120.0),
    )
    changes = fold(NOTHING, [ObservedRun(run_of(history[-1], attempts=2, ended_at=120.0), PIPELINE, history)], cause_of)
    assert changes.observations[SeriesKey(DURATION, PIPELINE)] == [20.0]
    assert changes.increments[SeriesKey(RETRIES, PIPELINE)] == 1


def test_pause_and_resume_is_not_a_retry() -> None:
    """The server counts another attempt for a run resumed in its process, but not for a rescheduled one."""
    waits = (state(3, "SCHEDULED", 111.0, "Resuming"), state(4, "PENDING", 112.0))
    for between, attempts in (((), 2), (waits, 1)):
        history = (
            state(1, "RUNNING", 100.0),
            state(2, "PAUSED", 110.0),
            *between,
            state(5, "RUNNING", 115.0),
            state(6, "COMPLETED", 120.0),
        )
        run = run_of(history[-1], attempts=attempts, ended_at=120.0)
        changes = fold(NOTHING, [ObservedRun(run, PIPELINE, history)], cause_of)
        assert SeriesKey(RETRIES, PIPELINE) not in changes.increments
        assert changes.runs["r"].attempts == 1
        assert changes.observations[SeriesKey(DURATION, PIPELINE)] == [20.0]


def test_retry_after_a_pause_is_counted() -> None:
    """After a resume in the same process, the server does not count the next attempt."""
    history = (
        state(1, "RUNNING", 100.0),
        state(2, "PAUSED", 110.0),
        state(3, "RUNNING", 115.0),
        state(4, "FAILED", 120.0),
        state(5, "SCHEDULED", 121.0, "AwaitingRetry"),
        state(6, "RUNNING", 130.0),
        state(7, "COMPLETED", 140.0),
    )
    seen = fold(NOTHING, [ObservedRun(run_of(history[2], attempts=2), PIPELINE, history[:3])], cause_of)
    assert SeriesKey(RETRIES, PIPELINE) not in seen.increments
    run = run_of(history[-1], attempts=2, ended_at=140.0)
    changes = fold(after(NOTHING, seen), [ObservedRun(run, PIPELINE, history)], cause_of)
    assert changes.increments[SeriesKey(RETRIES, PIPELINE)] == 1
    assert changes.failed_at == {("r", "s4"): 120.0}


def test_run_completed_by_hand_turns_from_bad_to_good_without_a_duration() -> None:
    failed = state(2, "FAILED", 120.0)
    first = fold(NOTHING, [ObservedRun(run_of(failed, ended_at=120.0), PIPELINE)], cause_of)
    by_hand = state(3, "COMPLETED", 9000.0)
    run = run_of(by_hand, ended_at=120.0)
    assert needs_history(run, first.runs["r"])
    history = (state(1, "RUNNING", 100.0), failed, by_hand)
    second = fold(after(NOTHING, first), [ObservedRun(run, PIPELINE, history)], cause_of)
    assert second.increments == {SeriesKey(OUTCOMES, PIPELINE, "completed"): 1}
    assert not second.observations
    rollup = second.rollups[PIPELINE, 0]
    assert (rollup.good, rollup.bad, rollup.timed) == (1, -1, 0)


def test_states_before_the_horizon_are_not_counted() -> None:
    history = (
        state(1, "RUNNING", 100.0),
        state(2, "FAILED", 120.0),
        state(3, "RUNNING", 500.0),
        state(4, "FAILED", 600.0),
    )
    run = run_of(history[-1], attempts=2, ended_at=600.0)
    changes = fold(Known({}, frozenset(), 300.0), [ObservedRun(run, PIPELINE, history)], cause_of)
    assert changes.increments[SeriesKey(OUTCOMES, PIPELINE, "failed")] == 1
    assert START_DELAY not in {key.metric for key in changes.observations}


def test_excluded_run_is_never_counted() -> None:
    end = state(3, "FAILED", 130.0)
    observed = ObservedRun(run_of(end, ended_at=130.0), None)
    first = fold(NOTHING, [observed], cause_of)
    assert not first.increments
    assert not first.zero_born
    assert not first.rollups
    assert first.counted == {("r", "s3")}
    second = fold(after(NOTHING, first), [replace(observed, pipeline=PIPELINE)], cause_of)
    assert not second.increments, "allowed later on, it is still not news"


def test_older_reading_after_a_newer_one_changes_nothing() -> None:
    running = ObservedRun(run_of(state(1, "RUNNING", 100.0)), PIPELINE)
    over = ObservedRun(run_of(state(2, "COMPLETED", 130.0), ended_at=130.0), PIPELINE)
    changes = fold(NOTHING, [over, running], cause_of)
    assert changes.runs["r"].state_type == "COMPLETED"
    late = fold(after(NOTHING, changes), [running], cause_of)
    assert late.runs == {}
    assert not late.increments
    assert not late.rollups


def test_run_that_only_waits_is_not_stored_but_its_pipeline_has_zero_born_series() -> None:
    waiting = run_of(state(1, "PENDING", 95.0), attempts=0, started_at=None)
    changes = fold(NOTHING, [ObservedRun(waiting, PIPELINE)], cause_of)
    assert changes.runs == {}
    assert changes.zero_born == set(zero_born_series(PIPELINE))


def test_two_terminal_states_in_one_microsecond_are_two_outcomes() -> None:
    """Set by hand at the instant of the end, or with a clock that stood still."""
    failed, by_hand = state(2, "FAILED", 130.0), state(3, "COMPLETED", 130.0)
    history = (state(1, "RUNNING", 100.0), failed, by_hand)
    changes = fold(NOTHING, [ObservedRun(run_of(by_hand, ended_at=130.0), PIPELINE, history)], cause_of)
    assert changes.counted == {("r", "s2"), ("r", "s3")}


def test_result_is_that_of_the_last_state() -> None:
    def result(state_type: str, ended_at: float | None = 1.0) -> Result | None:
        return KnownRun("r", PIPELINE, "s", state_type, 1.0, 1, start_counted=True, ended_at=ended_at).result

    assert [result(state_type) for state_type in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")] == [
        Result.GOOD,
        Result.BAD,
        Result.BAD,
        Result.NEITHER,
    ]
    assert result("SCHEDULED", None) is None, "a pending retry is not a result"


# Order, duplicates and batches do not matter

LIVES = (
    ("RUNNING", "COMPLETED"),
    ("RUNNING", "FAILED"),
    ("CRASHED",),
    ("CRASHED", "SCHEDULED", "RUNNING", "FAILED"),
    ("CANCELLED",),
    ("RUNNING", "FAILED", "SCHEDULED", "RUNNING", "COMPLETED"),
    ("RUNNING", "FAILED", "SCHEDULED", "RUNNING", "CRASHED", "SCHEDULED", "RUNNING", "FAILED"),
    ("RUNNING", "FAILED", "COMPLETED"),
    ("RUNNING", "CRASHED", "CANCELLED", "COMPLETED"),
    ("RUNNING", "PAUSED", "RUNNING", "COMPLETED"),
)


def readings(life: tuple[str, ...]) -> tuple[ServerRun, list[FlowRun], list[tuple[State, ...]]]:
    """The run and its history after each of its states, as the server shows them then."""
    fake = FakePrefect()
    flow = fake.add_flow("etl")
    run_id = fake.schedule(flow, fake.add_deployment("daily", flow))
    run = fake.runs[run_id]
    seen: list[FlowRun] = []
    histories: list[tuple[State, ...]] = []
    for state_type in life:
        fake.now += 10
        fake.set_state(run_id, state_type)
        seen.append(run.record())
        histories.append(tuple(run.states))
    return run, seen, histories


@settings(max_examples=examples(200), deadline=None)
@given(st.sampled_from(LIVES), st.data())
def test_any_order_any_duplicates_any_batches_give_the_same_sums(life: tuple[str, ...], data: st.DataObject) -> None:
    """Provided that the last reading is among them, whatever was read before or is read again."""
    run, seen, histories = readings(life)
    last = len(seen) - 1
    chosen = data.draw(
        st.lists(st.integers(0, last), max_size=8).map(lambda some: [*some, last]).flatmap(st.permutations)
    )
    known, sums, delays = NOTHING, Counter[SeriesKey](), 0
    rollups: Counter[str] = Counter()
    while chosen:
        size = data.draw(st.integers(1, len(chosen)))
        batch, chosen = chosen[:size], chosen[size:]
        # The history is read after the run: it may be newer than the run is.
        observed_runs = [
            ObservedRun(
                seen[number],
                PIPELINE,
                histories[data.draw(st.integers(number, last))]
                if needs_history(seen[number], known.runs.get(run.id))
                else (),
            )
            for number in batch
        ]
        changes = fold(known, observed_runs, cause_of)
        assert not changes.counted & known.counted
        sums.update(changes.increments)
        delays += sum(len(seen) for key, seen in changes.observations.items() if key.metric == START_DELAY)
        for rollup in changes.rollups.values():
            rollups.update(good=rollup.good, bad=rollup.bad)
        known = after(known, changes)
    outcomes = Counter({key.detail: n for key, n in sums.items() if key.metric == OUTCOMES})
    assert outcomes == Counter(state.label for state in run.terminal_states)
    assert sums[SeriesKey(RETRIES, PIPELINE)] == max(run.attempts_begun - 1, 0)
    assert delays == (1 if run.run_count else 0)
    last_type = run.state.type
    assert rollups["good"] == (last_type == "COMPLETED")
    assert rollups["bad"] == (last_type in {"FAILED", "CRASHED"})


def test_state_with_the_same_timestamp_as_the_known_one_is_the_current_one() -> None:
    failed, by_hand = state(2, "FAILED", 130.0), state(3, "COMPLETED", 130.0)
    known = Known({"r": fold(NOTHING, [ObservedRun(run_of(failed, ended_at=130.0), PIPELINE)], cause_of).runs["r"]},
                  frozenset({("r", "s2")}), 0.0)  # fmt: skip
    changes = fold(known, [ObservedRun(run_of(by_hand, ended_at=130.0), PIPELINE, (failed, by_hand))], cause_of)
    assert changes.runs["r"].state_id == "s3"
    assert changes.counted == {("r", "s3")}


def test_crash_before_the_start_is_remembered_while_its_retry_waits() -> None:
    """A forgotten run would be counted again."""
    crashed, waiting = state(1, "CRASHED", 100.0), state(2, "SCHEDULED", 110.0)
    changes = fold(NOTHING, [ObservedRun(run_of(waiting, attempts=0), PIPELINE, (crashed, waiting))], cause_of)
    assert changes.counted == {("r", "s1")}
    assert "r" in changes.runs
