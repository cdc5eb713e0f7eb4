"""Which runs are late, by due start and clock, whether or not the server has noticed. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final, NamedTuple

from prefect_monitoring.model.records import FlowRun, Pipeline

# The server itself marks runs late after 15 s, within some seconds, while its service runs.
MARGIN_SECONDS: Final = 60.0
LATE: Final = "late"
_MERELY_SCHEDULED: Final = "scheduled"


class LateKey(NamedTuple):
    """The key under which late runs are counted."""

    pipeline: Pipeline
    work_pool: str
    work_queue: str


class LateRuns(NamedTuple):
    """How many there are, and when the first of them was due."""

    number: int
    due_at: float


def merged(counted: LateRuns | None, more: LateRuns) -> LateRuns:
    return more if counted is None else LateRuns(counted.number + more.number, min(counted.due_at, more.due_at))


def as_they_are(runs: Iterable[FlowRun], now: float) -> Iterator[FlowRun]:
    """The runs without those that are scheduled for later; runs that should have started become Late."""
    for run in runs:
        if run.state.label != _MERELY_SCHEDULED:
            yield run
        elif run.due_at is not None and run.due_at < now - MARGIN_SECONDS:
            yield replace(run, state=replace(run.state, name="Late"))
