"""The fold of task runs: outcomes, time, retries and failures by task. Pure, like the fold of flow runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from prefect_monitoring.model.changes import Changes, KnownTaskRun, SeriesKey
from prefect_monitoring.model.counted_metrics import (
    TASK_DURATION,
    TASK_FAILURES,
    TASK_OUTCOMES,
    TASK_RETRIES,
    TASK_SECONDS,
    zero_born_task_series,
)
from prefect_monitoring.model.records import BAD_TYPES, CACHED, ROLLED_BACK, Pipeline, State, TaskRun

_DID_NOT_RUN: Final = frozenset({CACHED, ROLLED_BACK})


@dataclass(frozen=True, slots=True)
class ObservedTaskRun:
    """A task run as read now, the names it is counted under (no pipeline: excluded), and its states where needed.

    `missing_after`: where only its row was counted, the instant after which its earlier states are not counted.
    """

    run: TaskRun
    pipeline: Pipeline | None
    task: str
    history: tuple[State, ...] = ()
    missing_after: float | None = None


def needs_task_history(run: TaskRun, known: KnownTaskRun | None) -> bool:
    """Whether the run may have had terminal states before the present one, through a roll-back or a manual change.

    Also true when the present state is a failure whose message is not known.
    """
    if known is not None and known.state_id == run.state.id:
        return False
    lacks_message = run.state.type in BAD_TYPES and not run.message_known
    return lacks_message or known is not None or run.is_rolled_back or run.state.at != run.ended_at


def fold_tasks(
    known: Mapping[str, KnownTaskRun],
    horizon: float,
    observed_runs: Sequence[ObservedTaskRun],
    cause_of: Callable[[str], str],
) -> Changes:
    """The changes from `observed_runs`, given the `known` ones. States entered before `horizon` are not counted."""
    changes = Changes()
    for observed in observed_runs:
        run = observed.run
        before = changes.task_runs.get(run.id) or known.get(run.id)
        if run.ended_at is None or not run.state.is_terminal or (before is None and run.ended_at < horizon):
            continue
        if before is not None and observed.missing_after is not None:
            _count_missing(changes, observed, before, observed.missing_after, cause_of)
        if before is not None and (_says_the_same(before, run) or before.state_at > run.state.at):
            continue
        changes.task_runs[run.id] = _known_task_run(run, run.ended_at)
        if observed.pipeline is not None:
            _count(changes, observed, observed.pipeline, before, horizon, cause_of)
    return changes


def _says_the_same(before: KnownTaskRun, run: TaskRun) -> bool:
    """Whether nothing is new; a state that was deleted or restored is compared by kind and end of the row."""
    is_stand_in = run.id in {before.state_id, run.state.id}
    return before.state_id == run.state.id or (
        is_stand_in and (before.kind, before.ended_at) == (run.kind, run.ended_at)
    )


def _count_missing(
    changes: Changes, observed: ObservedTaskRun, before: KnownTaskRun, after: float, cause_of: Callable[[str], str]
) -> None:
    """Counts the outcomes before the one in the run's row, which is already counted."""
    missing = [state for state in observed.history if state.is_terminal and after < state.at <= before.state_at]
    _count_outcomes(changes, observed, [state for state in missing if state.id != before.state_id], cause_of)


def _count_outcomes(
    changes: Changes, observed: ObservedTaskRun, outcomes: Iterable[State], cause_of: Callable[[str], str]
) -> None:
    pipeline, task = observed.pipeline, observed.task
    if pipeline is None:
        return
    changes.moved.add(pipeline)
    for state in outcomes:
        changes.count(SeriesKey(TASK_OUTCOMES, pipeline, state.label, task), state.at)
        if state.type in BAD_TYPES:
            changes.count(SeriesKey(TASK_FAILURES, pipeline, cause_of(state.message), task), state.at)
        if state.type == "COMPLETED" and state.name not in _DID_NOT_RUN:
            seconds = observed.run.run_time
            changes.observe(SeriesKey(TASK_DURATION, Pipeline(pipeline.flow, ""), task=task), state.at, seconds)


def _known_task_run(run: TaskRun, ended_at: float) -> KnownTaskRun:
    return KnownTaskRun(
        run_id=run.id,
        flow_run_id=run.flow_run_id,
        task=run.task,
        state_id=run.state.id,
        kind=run.kind,
        state_at=run.state.at,
        attempts=run.attempts,
        started_at=run.started_at,
        ended_at=ended_at,
        run_time=run.run_time,
    )


def _count(
    changes: Changes,
    observed: ObservedTaskRun,
    pipeline: Pipeline,
    before: KnownTaskRun | None,
    horizon: float,
    cause_of: Callable[[str], str],
) -> None:
    run, task = observed.run, observed.task
    if SeriesKey(TASK_SECONDS, pipeline, task=task) not in changes.zero_born:
        changes.zero_born.update(zero_born_task_series(pipeline, task))
    _count_outcomes(changes, observed, _new_outcomes(observed, before, horizon), cause_of)
    retries = max(run.attempts - 1, 0) - max(before.attempts - 1 if before is not None else 0, 0)
    seconds = run.run_time - (before.run_time if before is not None else 0.0)
    for metric, more in ((TASK_RETRIES, retries), (TASK_SECONDS, seconds)):
        if more > 0:
            changes.count(SeriesKey(metric, pipeline, task=task), run.state.at, more)


def _new_outcomes(observed: ObservedTaskRun, before: KnownTaskRun | None, horizon: float) -> list[State]:
    """The terminal states entered since the ledger last saw the run, up to its present one."""
    present = observed.run.state
    if not observed.run.message_known:
        present = next((state for state in observed.history if state.id == present.id), present)
    past = [state for state in observed.history if state.at <= present.at and state.id != present.id]
    since = before.state_at if before is not None else horizon
    return [
        state
        for state in (*past, present)
        if state.is_terminal and (state.at > since if before is not None else state.at >= since)
    ]
