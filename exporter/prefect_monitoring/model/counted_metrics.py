"""The metrics that the ledger keeps."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from prefect_monitoring.model.changes import SeriesKey
from prefect_monitoring.model.records import Pair
from prefect_monitoring.model.series import Bounds

OUTCOMES: Final = "prefect_flow_run_outcomes_total"
FAILURES: Final = "prefect_flow_run_failures_total"
RETRIES: Final = "prefect_flow_run_retries_total"
DURATION: Final = "prefect_flow_run_duration_seconds"
START_DELAY: Final = "prefect_flow_run_start_delay_seconds"
HISTOGRAMS: Final = (DURATION, START_DELAY)
ZERO_BORN_STATES: Final = ("completed", "failed", "crashed")


def births(pair: Pair) -> Iterable[SeriesKey]:
    """The series that exist from the moment a pair is known, before anything happened to it."""
    yield from (SeriesKey(OUTCOMES, pair, state) for state in ZERO_BORN_STATES)
    yield from (SeriesKey(metric, pair) for metric in (RETRIES, *HISTOGRAMS))


TASK_OUTCOMES: Final = "prefect_task_run_outcomes_total"
TASK_SECONDS: Final = "prefect_task_run_seconds_total"
TASK_RETRIES: Final = "prefect_task_run_retries_total"
TASK_FAILURES: Final = "prefect_task_run_failures_total"
TASK_DURATION: Final = "prefect_task_run_duration_seconds"
TASK_ZERO_BORN_STATES: Final = ("completed", "failed")


def task_births(pair: Pair, task: str) -> Iterable[SeriesKey]:
    """The series that exist from the moment a task is known."""
    yield from (SeriesKey(TASK_OUTCOMES, pair, state, task) for state in TASK_ZERO_BORN_STATES)
    yield from (SeriesKey(metric, pair, task=task) for metric in (TASK_SECONDS, TASK_RETRIES))


CUSTOM_OBSERVED: Final = "prefect_custom_metric_observed"
CUSTOM_VALUE: Final = "prefect_custom_metric_value"
REJECTED: Final = "prefect_exporter_metric_lines_rejected_total"
DEFAULT_BOUNDS: Final[Bounds] = {
    DURATION: (1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 43200, 86400),
    START_DELAY: (1, 5, 15, 60, 300, 900, 3600),
}
