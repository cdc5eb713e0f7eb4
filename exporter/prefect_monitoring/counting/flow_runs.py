"""The fold of flow runs: from known and observed runs to changes. Pure: no clock, no I/O.

Order, duplicates and restarts do not matter: a terminal state is counted once by (run id, state id), and what is
counted per run (result and duration in the rollups) is the difference to what the ledger knew of that run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from prefect_monitoring.analysis.message_patterns import message_line, pattern_of
from prefect_monitoring.model.changes import Changes, KnownRun, SeriesKey
from prefect_monitoring.model.counted_metrics import (
    DURATION,
    FAILURES,
    OUTCOMES,
    RETRIES,
    START_DELAY,
    zero_born_series,
)
from prefect_monitoring.model.records import BAD_TYPES, FlowRun, Pipeline, State
from prefect_monitoring.model.units import HOUR

CLOCK_GRAIN: Final = 0.001


@dataclass(frozen=True, slots=True)
class ObservedRun:
    """A run as read now, its state history where that was needed, and its pipeline (None when excluded).

    Not `whole`: its history was needed but could not be read, so that only its row is counted.
    """

    run: FlowRun
    pipeline: Pipeline | None
    history: tuple[State, ...] = ()
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Known:
    """What the ledger knows of the runs in a batch. States entered before `horizon` are not counted."""

    runs: Mapping[str, KnownRun]
    counted: frozenset[tuple[str, str]]
    horizon: float


def needs_history(run: FlowRun, known: KnownRun | None) -> bool:
    """Whether the run may have had terminal states before its present state.

    A retry clears end_time, and a state set manually keeps the old one. A re-run of a run that crashed before its start
    adds no attempt, but shows in the run's policy, or in a start before it ran.
    """
    if known is not None and known.state_id == run.state.id:
        return False
    set_by_hand = run.state.is_terminal and run.ended_at != run.state.at
    return any((run.attempts > 1, run.rescheduled, set_by_hand, _was_idle(run), _waits_again(run)))


def _waits_again(run: FlowRun) -> bool:
    """Whether it waits for a start after its first."""
    return run.state.type == "SCHEDULED" and run.attempts > 0


def _was_idle(run: FlowRun) -> bool:
    """Whether a run that is over spent part of the time between start and end in a state other than Running."""
    if run.attempts == 0 or run.started_at is None or run.ended_at is None or run.run_time is None:
        return False
    return run.ended_at - run.started_at - run.run_time > CLOCK_GRAIN


def ran_before(run: FlowRun, history: tuple[State, ...]) -> float:
    """Seconds in Running before the present state and after the last terminal state, without waits and pauses."""
    seconds = 0.0
    for state, following in pairwise(_states(ObservedRun(run, None, history))):
        if state.is_terminal:
            seconds = 0.0
        elif state.type == "RUNNING":
            seconds += max(following.at - state.at, 0.0)
    return seconds


def fold(known: Known, observed_runs: Sequence[ObservedRun], cause_of: Callable[[str], str]) -> Changes:
    """The changes from `observed_runs`, given what is `known`. `cause_of` turns a state message into a cause."""
    changes = Changes()
    for observed in observed_runs:
        _note_due(changes, observed.run)
        before = changes.runs.get(observed.run.id) or known.runs.get(observed.run.id)
        if before is not None and _says_the_same(before, observed.run):
            if observed.history and before.state_id == observed.run.state.id:
                _complete(known, changes, observed, before, cause_of)
            continue
        if before is not None and before.state_id == observed.run.id and _ended_alike(before, observed.run):
            changes.counted.add(
                (observed.run.id, observed.run.state.id)
            )  # counted from its row, which lacked the state's id
        if before is None or before.state_at <= observed.run.state.at:
            _fold_run(known, changes, observed, before, cause_of)
        else:
            # An old page, or a backdated state: not the present state, but still an outcome.
            _count_outcomes(known, changes, observed, _states(observed), cause_of)
    return changes


def _says_the_same(before: KnownRun, run: FlowRun) -> bool:
    """Whether nothing is new. A deleted state has the run's id; then type and end of the row decide."""
    if before.state_id == run.state.id:
        return True
    return run.state.id == run.id and _ended_alike(before, run)


def _ended_alike(before: KnownRun, run: FlowRun) -> bool:
    end = run.ended_at if run.ended_at is not None or not run.state.is_terminal else run.state.at
    return before.state_type == run.state.type and before.ended_at == end


def _complete(
    known: Known, changes: Changes, observed: ObservedRun, before: KnownRun, cause_of: Callable[[str], str]
) -> None:
    """Adds the history of a run of which only the row is counted."""
    states = _states(observed)
    _count_outcomes(known, changes, observed, states, cause_of)
    after = _known_run(observed, states, before, cause_of)
    if before.duration is None and after.duration is not None and before.pipeline is not None:
        if after.state_type == "COMPLETED":
            changes.observe(SeriesKey(DURATION, before.pipeline), after.state_at, after.duration)
        _move_in_rollups(changes, before, after)
        changes.runs[observed.run.id] = after


def _note_due(changes: Changes, run: FlowRun) -> None:
    """Notes that the run's schedule expected it; the expected start of a retry is not the schedule's."""
    first = run.attempts <= 1 and not run.rescheduled and not _waits_again(run)
    if first and run.auto_scheduled and run.deployment_id and run.expected_at is not None:
        has_passed = run.expected_at <= run.state.at  # else it was cancelled before, or started some seconds early
        if has_passed:
            changes.due[run.deployment_id] = max(run.expected_at, changes.due.get(run.deployment_id, 0.0))


def _fold_run(
    known: Known, changes: Changes, observed: ObservedRun, before: KnownRun | None, cause_of: Callable[[str], str]
) -> None:
    run, pipeline, states = observed.run, observed.pipeline, _states(observed)
    after = _known_run(observed, states, before, cause_of)
    _count_outcomes(known, changes, observed, states, cause_of)
    if pipeline is not None:
        if SeriesKey(RETRIES, pipeline) not in changes.zero_born:
            changes.zero_born.update(zero_born_series(pipeline))
        _count_attempts(known, changes, before, after, states)
        if after.start_counted and not (before is not None and before.start_counted):
            _count_start(known, changes, run, states, pipeline)
    if before is None and _is_not_worth_storing(after, states, known.horizon):
        return
    _move_in_rollups(changes, before, after)
    changes.runs[run.id] = after


def _known_run(
    observed: ObservedRun, states: tuple[State, ...], before: KnownRun | None, cause_of: Callable[[str], str]
) -> KnownRun:
    run, pipeline, is_over = observed.run, observed.pipeline, observed.run.state.is_terminal
    failed = run.state.type in BAD_TYPES
    started_at = _first_start(run, states)
    started = pipeline is not None and started_at is not None
    is_known = before is not None and before.state_id == run.state.id
    delay = _start_delay(run, states) if pipeline is not None else None
    end = run.ended_at if run.ended_at is not None else run.state.at
    return KnownRun(
        run_id=run.id,
        pipeline=pipeline,
        state_id=run.state.id,
        state_type=run.state.type,
        state_at=run.state.at,
        attempts=max(_attempts(run, states), before.attempts if before else 0),
        start_counted=started or (before is not None and before.start_counted),
        ended_at=end if is_over else None,
        duration=_duration(run, states, len(states) - 1) if is_over and observed.whole else None,
        name=run.name if failed else "",
        cause=cause_of(run.state.message) if failed else "",
        pattern=pattern_of(run.state.message) if failed else "",
        started_at=started_at if started_at is not None else before.started_at if before else None,
        held=failed if before is None or not is_known else before.held,
        start_delay=before.start_delay if before is not None and before.start_delay is not None else delay,
        message=message_line(run.state.message) if failed else "",
    )


def _is_not_worth_storing(after: KnownRun, states: tuple[State, ...], horizon: float) -> bool:
    """Whether nothing has happened to it yet, or it is so old that the ledger has already pruned it."""
    if after.ended_at is not None:
        return after.ended_at < horizon
    return after.attempts == 0 and not any(state.is_terminal for state in states)


def _states(observed: ObservedRun) -> tuple[State, ...]:
    """The states up to the run's present one; newer states in the history, which is read later, are left out."""
    present = observed.run.state
    return (*(state for state in observed.history if state.at <= present.at and state.id != present.id), present)


def _count_outcomes(
    known: Known,
    changes: Changes,
    observed: ObservedRun,
    states: tuple[State, ...],
    cause_of: Callable[[str], str],
) -> None:
    """Counts each new terminal state; those of excluded runs are only marked, so that they never count later."""
    run, pipeline = observed.run, observed.pipeline
    for index, state in enumerate(states):
        key = (run.id, state.id)
        if not state.is_terminal or state.at < known.horizon or key in known.counted or key in changes.counted:
            continue
        changes.counted.add(key)
        if pipeline is None:
            continue
        if state.type in BAD_TYPES:
            changes.failed_at[key] = state.at
        changes.count(SeriesKey(OUTCOMES, pipeline, state.label), state.at)
        last = (pipeline, state.label)
        changes.last_outcomes[last] = max(state.at, changes.last_outcomes.get(last, 0.0))
        if state.type in BAD_TYPES:
            changes.count(SeriesKey(FAILURES, pipeline, cause_of(state.message)), state.at)
        duration = _duration(run, states, index) if observed.whole else None
        if state.type == "COMPLETED" and duration is not None:
            changes.observe(SeriesKey(DURATION, pipeline), state.at, duration)


def _attempts(run: FlowRun, states: tuple[State, ...]) -> int:
    """Entries into Running, without resumptions, which the server's count may or may not include."""
    resumed, began = 0, 0
    is_paused = False
    for state in states:
        if state.type == "RUNNING":
            began, resumed = began + 1 - is_paused, resumed + is_paused
        if state.type not in {"SCHEDULED", "PENDING"} or state.name == "AwaitingRetry":
            is_paused = state.type == "PAUSED"
    return began if resumed else run.attempts


def _count_attempts(
    known: Known, changes: Changes, before: KnownRun | None, after: KnownRun, states: tuple[State, ...]
) -> None:
    """Counts new attempts; for a run that the ledger has pruned, those since the horizon."""
    forgotten = sum(state.type == "RUNNING" and state.at < known.horizon for state in states)
    counted = before.attempts if before is not None else forgotten
    retries = max(after.attempts - 1, 0) - max(counted - 1, 0)
    if retries > 0 and after.pipeline is not None:
        changes.count(SeriesKey(RETRIES, after.pipeline), after.state_at, retries)


def _count_start(known: Known, changes: Changes, run: FlowRun, states: tuple[State, ...], pipeline: Pipeline) -> None:
    """Counts the delay of the first start, once per run: the wait of a retry is not a delay."""
    started_at, delay = _first_start(run, states), _start_delay(run, states)
    if started_at is not None and started_at >= known.horizon and delay is not None:
        changes.observe(SeriesKey(START_DELAY, pipeline), started_at, delay)


def _start_delay(run: FlowRun, states: tuple[State, ...]) -> float | None:
    """Seconds from the expected start to the first start; None if it never started or was not expected."""
    started_at = _first_start(run, states)
    return max(started_at - run.expected_at, 0.0) if started_at is not None and run.expected_at is not None else None


def _first_start(run: FlowRun, states: tuple[State, ...]) -> float | None:
    """The first Running: newer servers set `started_at` of a run that never ran to its crash."""
    if run.attempts == 0:
        return None
    running = [state.at for state in states if state.type == "RUNNING"]
    return running[0] if running and len(states) > 1 else run.started_at


def _duration(run: FlowRun, states: tuple[State, ...], index: int) -> float | None:
    """Seconds from the first Running after the previous terminal state to states[index]; None if it never ran."""
    if run.attempts == 0:
        return None
    end = states[index]
    if len(states) == 1:
        return max(end.at - run.started_at, 0.0) if run.started_at is not None else None
    began: float | None = None
    for state in states[:index]:
        if state.is_terminal:
            began = None
        elif state.type == "RUNNING" and began is None:
            began = state.at
    return None if began is None else max(end.at - began, 0.0)


def _move_in_rollups(changes: Changes, before: KnownRun | None, after: KnownRun) -> None:
    """Moves the run from the hour of its previous end to the hour of its present end."""
    for run, sign in ((before, -1), (after, +1)):
        if run is not None and run.pipeline is not None and run.ended_at is not None:
            changes.rollups[run.pipeline, int(run.ended_at // HOUR) * HOUR].add(run, sign)
