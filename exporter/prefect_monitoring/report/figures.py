"""The figures of the report, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from prefect_monitoring.model.actions import ActionResult, Kind
from prefect_monitoring.model.period import Period, RunCounts
from prefect_monitoring.model.records import Pipeline


@dataclass(frozen=True, slots=True)
class PipelineSuccess:
    """The runs of a pipeline. `objective` is None if none is declared, `before` is None if the past is unknown."""

    pipeline: Pipeline
    team: str
    objective: float | None
    now: RunCounts
    before: RunCounts | None

    @property
    def is_below(self) -> bool:
        ratio = self.now.success_ratio
        return self.objective is not None and ratio is not None and ratio < self.objective


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Failed runs with one cause and one pattern of the message; `pipelines`: how many of each, most first."""

    cause: str
    pattern: str
    runs: int
    pipelines: tuple[tuple[Pipeline, int], ...]
    last_at: float


@dataclass(frozen=True, slots=True)
class Budget:
    """Failed runs that the objective allows over `window` seconds, and how many there were."""

    pipeline: Pipeline
    objective: float
    window: float
    allowed: int
    failed: int

    @property
    def left(self) -> int:
        return self.allowed - self.failed


@dataclass(frozen=True, slots=True)
class RetryingTask:
    """`causes` of its failed attempts, most first; `before` is None if the past is unknown."""

    pipeline: Pipeline
    task: str
    retries: int
    before: int | None
    runs: int
    causes: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Slower:
    """A pipeline, or a task of one, whose mean (seconds) grew."""

    pipeline: Pipeline
    task: str
    before: float
    now: float
    runs: int

    @property
    def lost(self) -> float:
        """Seconds that it took more, over all runs."""
        return (self.now - self.before) * self.runs


@dataclass(frozen=True, slots=True)
class Volume:
    """A number that changed: runs of a pipeline (`what` is ""), or the mean of a custom metric."""

    pipeline: Pipeline
    what: str
    before: float
    now: float

    @property
    def ratio(self) -> float:
        return self.now / self.before


@dataclass(frozen=True, slots=True)
class Idle:
    """A deployment that does not run. `since`: when it paused or was due; None for one that never ran."""

    pipeline: Pipeline
    why: Literal["paused", "missed", "never"]
    since: float | None


@dataclass(frozen=True, slots=True)
class Figures:
    """Runs and failures are of `hours`, daily counts of `days`. None means unknown.

    `elsewhere`: runs of deleted pipelines, or beyond the label cap. `retries` are of tasks. `failed_automations`: by
    name, how many actions failed. `days_from`: when daily counts began, if that is within `days`.
    """

    at: float
    hours: Period
    days: Period
    team: str
    pipelines: tuple[PipelineSuccess, ...]
    total: RunCounts
    total_before: RunCounts | None
    elsewhere: RunCounts
    failures: tuple[FailureGroup, ...]
    budgets: tuple[Budget, ...]
    retrying: tuple[RetryingTask, ...]
    retries: int
    retries_before: int | None
    slower: tuple[Slower, ...]
    volumes: tuple[Volume, ...]
    actions: Mapping[Kind, Mapping[ActionResult, int]]
    saved: int
    failed_automations: Mapping[str, int]
    idle: tuple[Idle, ...]
    days_from: float | None

    @property
    def below(self) -> tuple[PipelineSuccess, ...]:
        return tuple(success for success in self.pipelines if success.is_below)
