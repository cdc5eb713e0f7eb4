"""Tasks over the last seven days, as differences of levels: exact, and cheap for thousands of tasks.

A task that is younger counts from its first sample, which holds what the exporter's first start loaded: up to seven
days of task runs, by default. So a new installation has something to show.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from grafana.src.promql import BY_PIPELINE, known, lately, level, of_pipelines, total

TASK: Final = f"{BY_PIPELINE}, task"

SECONDS: Final = "prefect_task_run_seconds_total"
OUTCOMES: Final = "prefect_task_run_outcomes_total"
RETRIES: Final = "prefect_task_run_retries_total"


def week(metric: str, *matchers: str) -> str:
    """The increase of a counter of tasks within seven days."""
    return known(metric, *matchers, window="7d")


def seconds(read: Callable[[str], str] = lately) -> str:
    """The seconds that runs of each task took within seven days, as prometheus/rules/recording.yml records them."""
    return read(of_pipelines("flow_deployment_task:prefect_task_run_seconds:increase7d"))


def _between(metric: str, start: str, end: str, *matchers: str) -> str:
    """Only if the counter is that old."""
    now, before = (level(metric, *matchers, at=at) for at in (end, start))
    return f"clamp_min({now} - {before}, 0)"


def runs(*matchers: str) -> str:
    return total(week(OUTCOMES, *matchers), by=TASK)


# A cached task run takes no time: it would make the mean look better than it is.
_RAN: Final = 'state!~"cached|skipped"'


def mean_seconds() -> str:
    return f"{seconds()} / ({runs(_RAN)} > 0)"


def growth() -> str:
    """By how much the mean of the last seven days is above that of the seven before: 0.5 is half as much again."""

    def mean(start: str, end: str) -> str:
        ran = total(_between(OUTCOMES, start, end, _RAN), by=TASK)
        return f"({_between(SECONDS, start, end)} / ({ran} > 0))"

    return f"({mean(' offset 7d', '')} / ({mean(' offset 14d', ' offset 7d')} > 0) - 1)"


def named_task(expr: str) -> str:
    """With the label `of` for legends: flow/task."""
    return f'label_join({expr}, "of", "/", "flow", "task")'
