"""What a batch of records changes, as values: what folds return and the ledger applies."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from prefect_monitoring.model.records import BAD_TYPES, Pipeline


class Result(StrEnum):
    """How a run counts in ratios, by its last state. Cancelling is a user's decision: neither good nor bad."""

    GOOD = "good"
    BAD = "bad"
    NEITHER = "neither"


class SeriesKey(NamedTuple):
    """A series that the ledger keeps: metric, pipeline, value of its one further label, task, the user's labels.

    Parts that a metric does not have are empty.
    """

    metric: str
    pipeline: Pipeline
    detail: str = ""
    task: str = ""
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class KnownRun:
    """What the ledger remembers of a run. `pipeline` is None for a run that the filters exclude.

    `cause`, `pattern` and `message`, its first line, are those of a failure: analysis/message_patterns.py. `started_at`
    is its first start, `start_delay` the seconds from the expected start to it. `held`: a failure that stays unresolved
    until it has been shown long enough for an alert.
    """

    run_id: str
    pipeline: Pipeline | None
    state_id: str
    state_type: str
    state_at: float
    attempts: int
    start_counted: bool
    ended_at: float | None = None
    duration: float | None = None
    name: str = ""
    cause: str = ""
    pattern: str = ""
    started_at: float | None = None
    held: bool = False
    start_delay: float | None = None
    message: str = ""

    @property
    def result(self) -> Result | None:
        """None while the run is not over, a pending retry included."""
        if self.ended_at is None:
            return None
        if self.state_type == "COMPLETED":
            return Result.GOOD
        return Result.BAD if self.state_type in BAD_TYPES else Result.NEITHER


@dataclass(frozen=True, slots=True)
class KnownTaskRun:
    """What the ledger remembers of a finished task run. `flow_run_id` is None outside flows. Times in seconds."""

    run_id: str
    flow_run_id: str | None
    task: str
    state_id: str
    kind: str
    state_at: float
    attempts: int
    started_at: float | None
    ended_at: float
    run_time: float


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a deployment's schedules last expected a start, and when they expect the next; None: not known.

    `unmet_at` is the earliest expected start that passed after the last completed run, as of the last start that
    passed; `paused_at` is when it was found paused. `unscheduled_at` is when it was last found paused or without active
    schedules: an unmet start from before that is no longer due. `resumed_at` is when it was found resumed.
    """

    last_at: float | None = None
    next_at: float | None = None
    unmet_at: float | None = None
    paused_at: float | None = None
    unscheduled_at: float | None = None
    resumed_at: float | None = None


@dataclass(frozen=True, slots=True)
class LastValue:
    """The last value of a custom metric, and when it was reported."""

    value: float
    at: float


@dataclass(slots=True)
class Rollup:
    """Additions to one hour of one pipeline; negative where a run's last state changed."""

    good: int = 0
    bad: int = 0
    timed: int = 0
    seconds: float = 0.0

    def add(self, run: KnownRun, sign: int) -> None:
        self.good += sign * (run.result is Result.GOOD)
        self.bad += sign * (run.result is Result.BAD)
        if run.result is Result.GOOD and run.duration is not None:
            self.timed += sign
            self.seconds += sign * run.duration


class Moment(NamedTuple):
    """When a series moved, and by how much: a counter's increment, or the value that was observed."""

    key: SeriesKey
    at: float
    amount: float


@dataclass(slots=True)
class Changes:
    """Everything that one batch changes; the ledger applies it in one transaction.

    `counted`: terminal states by (run id, state id); `failed_at`: when those that are failures were entered. `due`:
    the latest expected start that has passed, by deployment id. `lines`: log ids that are counted now, and their
    instants. `points`: trend points that are counted now, by metric and id. `moved`: the pipelines whose run
    statistics may have changed for a reason that no other field shows. `moments`: all increments and
    observations, with their instants, for a backfill and for the counts by day.
    """

    runs: dict[str, KnownRun] = field(default_factory=dict)
    counted: set[tuple[str, str]] = field(default_factory=set)
    failed_at: dict[tuple[str, str], float] = field(default_factory=dict)
    increments: defaultdict[SeriesKey, float] = field(default_factory=lambda: defaultdict(float))
    observations: defaultdict[SeriesKey, list[float]] = field(default_factory=lambda: defaultdict(list))
    rollups: defaultdict[tuple[Pipeline, int], Rollup] = field(default_factory=lambda: defaultdict(Rollup))
    last_outcomes: dict[tuple[Pipeline, str], float] = field(default_factory=dict)
    zero_born: set[SeriesKey] = field(default_factory=set)
    due: dict[str, float] = field(default_factory=dict)
    task_runs: dict[str, KnownTaskRun] = field(default_factory=dict)
    lines: dict[str, float] = field(default_factory=dict)
    points: set[tuple[str, str]] = field(default_factory=set)
    values: dict[SeriesKey, LastValue] = field(default_factory=dict)
    moved: set[Pipeline] = field(default_factory=set)
    moments: list[Moment] = field(default_factory=list)

    def count(self, key: SeriesKey, at: float, amount: float = 1) -> None:
        """Adds `amount` to a counter, for what happened at the instant `at`."""
        self.increments[key] += amount
        self.moments.append(Moment(key, at, amount))

    def observe(self, key: SeriesKey, at: float, value: float) -> None:
        """Adds a value to a histogram or summary, observed at the instant `at`."""
        self.observations[key].append(value)
        self.moments.append(Moment(key, at, value))
