"""What METRIC lines add: sums, counts and last values of the users' own metrics. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from prefect_monitoring.analysis.metric_lines import parse, saved_failure
from prefect_monitoring.counting.custom_metrics import (
    Admits,
    Declarations,
    Values,
    count_observation,
)
from prefect_monitoring.model.changes import Changes, SeriesKey
from prefect_monitoring.model.counted_metrics import (
    REJECTED,
    TASK_FAILURES,
    zero_born_series_without_pipeline,
)
from prefect_monitoring.model.records import NO_FLOW, LogLine, Pipeline


@dataclass(frozen=True, slots=True)
class LineSighting:
    """A log line, and the names it is counted under (no pipeline: excluded; no task: of the flow itself)."""

    line: LogLine
    pipeline: Pipeline | None
    task: str


def fold_lines(
    sightings: Sequence[LineSighting],
    values: Values,
    admits: Admits,
    cause_of: Callable[[str], str],
    declarations: Declarations = MappingProxyType({}),
) -> Changes:
    """What lines that were not counted before add, the oldest first."""
    changes = Changes(zero_born=set(zero_born_series_without_pipeline()))
    for sighting in sightings:
        changes.lines[sighting.line.id] = sighting.line.at
        if sighting.pipeline is not None:
            _count_metrics(changes, sighting, sighting.pipeline, values, admits, declarations)
            _count_saved_failure(changes, sighting, sighting.pipeline, cause_of)
    return changes


def _count_metrics(
    changes: Changes,
    sighting: LineSighting,
    pipeline: Pipeline,
    values: Values,
    admits: Admits,
    declarations: Declarations,
) -> None:
    parsed = parse(sighting.line.message)
    reasons = list(parsed.rejected)
    for one in parsed.observations:
        declared = declarations.get(one.name, ())
        reasons += count_observation(changes, one, pipeline, sighting.task, sighting.line.at, declared, values, admits)
    for reason in reasons:
        changes.count(SeriesKey(REJECTED, NO_FLOW, reason), sighting.line.at)


def _count_saved_failure(
    changes: Changes, sighting: LineSighting, pipeline: Pipeline, cause_of: Callable[[str], str]
) -> None:
    if sighting.task and (failure := saved_failure(sighting.line.message)) is not None:
        changes.count(SeriesKey(TASK_FAILURES, pipeline, cause_of(failure), sighting.task), sighting.line.at)
