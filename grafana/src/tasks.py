"""Tasks over the last seven days, as differences of counters: exact, and cheap for thousands of tasks.

A task that is younger counts from its first sample, which holds what the exporter's first start loaded: up to seven
days of task runs, by default. So a new installation has something to show.
"""

from __future__ import annotations

from typing import Final

from grafana.src.promql import PAIR, merged, of_pairs, total

TASK: Final = f"{PAIR}, task"

SECONDS: Final = "prefect_task_run_seconds_total"
OUTCOMES: Final = "prefect_task_run_outcomes_total"
RETRIES: Final = "prefect_task_run_retries_total"
FAILURES: Final = "prefect_task_run_failures_total"


def _level(metric: str, matchers: tuple[str, ...], labels: tuple[str, ...], offset: str) -> str:
    # Two hours: the nearest sample of an hourly history may be one hour away.
    return merged(f"last_over_time({of_pairs(metric, *matchers)}[2h]{offset})", *labels, by=TASK)


def week(metric: str, *matchers: str, labels: tuple[str, ...] = ()) -> str:
    """What a counter of tasks grew by within seven days."""
    now, before = (_level(metric, matchers, labels, offset) for offset in ("", " offset 7d"))
    return f"(clamp_min({now} - {before}, 0) or {now})"


def _known_week(metric: str, matchers: tuple[str, ...], labels: tuple[str, ...], end: str, start: str) -> str:
    now, before = (_level(metric, matchers, labels, offset) for offset in (end, start))
    return f"clamp_min({now} - {before}, 0)"


def runs(*matchers: str) -> str:
    return total(week(OUTCOMES, *matchers, labels=("state",)), by=TASK)


# A task run that the cache serves takes no time: it would make the mean look better than the work is.
_RAN: Final = 'state!~"cached|skipped"'


def mean_seconds() -> str:
    return f"{week(SECONDS)} / ({runs(_RAN)} > 0)"


def growth() -> str:
    """By how much the mean of the last seven days is above that of the seven before: 0.5 is half as much again."""

    def mean(end: str, start: str) -> str:
        seconds = _known_week(SECONDS, (), (), end, start)
        ran = total(_known_week(OUTCOMES, (_RAN,), ("state",), end, start), by=TASK)
        return f"({seconds} / ({ran} > 0))"

    return f"({mean('', ' offset 7d')} / ({mean(' offset 7d', ' offset 14d')} > 0) - 1)"


def cached_share() -> str:
    cached, all_good = runs('state="cached"'), runs('state=~"cached|completed"')
    return f"({cached} / ({all_good} > 0))"


def named_task(expr: str) -> str:
    """With the label `of` for legends: flow/task."""
    return f'label_join({expr}, "of", "/", "flow", "task")'
