"""What METRIC lines add: sums, counts and last values of the users' own metrics. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from prefect_monitoring.analysis.metric_lines import parse, saved_failure
from prefect_monitoring.model.changes import Changes, LastValue, SeriesKey
from prefect_monitoring.model.counted_metrics import (
    CUSTOM_OBSERVED,
    CUSTOM_VALUE,
    REJECTED,
    TASK_FAILURES,
    births_of_no_pipeline,
)
from prefect_monitoring.model.metric_lines import Reason
from prefect_monitoring.model.records import NO_FLOW, LogLine, Pair


@dataclass(frozen=True, slots=True)
class LineSighting:
    """A log line, and the names it is counted under (no pair: excluded; no task: of the flow itself)."""

    line: LogLine
    pair: Pair | None
    task: str


def fold_lines(
    sightings: Sequence[LineSighting],
    values: Callable[[SeriesKey], LastValue | None],
    admits: Callable[[SeriesKey], bool],
    cause_of: Callable[[str], str],
) -> Changes:
    """What lines that were not counted before add, the oldest first. `values` tells what a metric's last value is."""
    changes = Changes(born=set(births_of_no_pipeline()))
    for sighting in sightings:
        changes.lines[sighting.line.id] = sighting.line.at
        if sighting.pair is not None:
            _count_metrics(changes, sighting, sighting.pair, values, admits)
            _count_saved_failure(changes, sighting, sighting.pair, cause_of)
    return changes


def _count_metrics(
    changes: Changes,
    sighting: LineSighting,
    pair: Pair,
    values: Callable[[SeriesKey], LastValue | None],
    admits: Callable[[SeriesKey], bool],
) -> None:
    parsed = parse(sighting.line.message)
    reasons = list(parsed.rejected)
    for one in parsed.observations:
        observed = SeriesKey(CUSTOM_OBSERVED, pair, one.name, sighting.task, one.labels)
        if not admits(observed):
            reasons.append(Reason.TOO_MANY)
            continue
        changes.observe(observed, sighting.line.at, one.value)
        value = SeriesKey(CUSTOM_VALUE, pair, one.name, sighting.task, one.labels)
        last = changes.values.get(value) or values(value)
        if last is None or last.at <= sighting.line.at:
            changes.values[value] = LastValue(one.value, sighting.line.at)
    for reason in reasons:
        changes.count(SeriesKey(REJECTED, NO_FLOW, reason), sighting.line.at)


def _count_saved_failure(changes: Changes, sighting: LineSighting, pair: Pair, cause_of: Callable[[str], str]) -> None:
    if sighting.task and (failure := saved_failure(sighting.line.message)) is not None:
        changes.count(SeriesKey(TASK_FAILURES, pair, cause_of(failure), sighting.task), sighting.line.at)
