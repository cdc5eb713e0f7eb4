"""Counts METRIC lines: sums, counts and last values of the users' own metrics. Pure."""

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
class LabelledLine:
    """A log line and its labels (no pipeline: excluded; no task: logged by the flow itself)."""

    line: LogLine
    pipeline: Pipeline | None
    task: str


def fold_lines(
    lines: Sequence[LabelledLine],
    values: Values,
    admits: Admits,
    cause_of: Callable[[str], str],
    declarations: Declarations = MappingProxyType({}),
) -> Changes:
    """The changes from `lines`, none of which is counted yet; the oldest first."""
    changes = Changes(zero_born=set(zero_born_series_without_pipeline()))
    for labelled in lines:
        changes.lines[labelled.line.id] = labelled.line.at
        if labelled.pipeline is not None:
            _count_metrics(changes, labelled, labelled.pipeline, values, admits, declarations)
            _count_saved_failure(changes, labelled, labelled.pipeline, cause_of)
    return changes


def _count_metrics(
    changes: Changes,
    labelled: LabelledLine,
    pipeline: Pipeline,
    values: Values,
    admits: Admits,
    declarations: Declarations,
) -> None:
    parsed = parse(labelled.line.message)
    reasons = list(parsed.rejected)
    for observation in parsed.observations:
        declared = declarations.get(observation.name, ())
        reasons += count_observation(
            changes, observation, pipeline, labelled.task, labelled.line.at, declared, values, admits
        )
    for reason in reasons:
        changes.count(SeriesKey(REJECTED, NO_FLOW, reason), labelled.line.at)


def _count_saved_failure(
    changes: Changes, labelled: LabelledLine, pipeline: Pipeline, cause_of: Callable[[str], str]
) -> None:
    if labelled.task and (failure := saved_failure(labelled.line.message)) is not None:
        changes.count(SeriesKey(TASK_FAILURES, pipeline, cause_of(failure), labelled.task), labelled.line.at)
