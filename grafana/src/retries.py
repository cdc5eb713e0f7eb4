"""Failures and retries: which tasks, why, what retries save, and when they happen."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.models import dashboard as model

from grafana.src import clock, states, tasks, variables
from grafana.src.colours import ANY_IS_BAD, BAD, COUNT_IS_BAD, GOOD, RETRYING, WATCH, steps
from grafana.src.fields import coloured, in_colour
from grafana.src.layout import band, board
from grafana.src.panels import categories, columns, now, over_time, ranking, stats
from grafana.src.promql import (
    BY_PIPELINE,
    HOURS,
    SUMMED,
    bars,
    chosen,
    grown,
    highest,
    known,
    merged,
    of_pipelines,
    or_none,
    or_zero,
    total,
)
from grafana.src.tables import DEPLOYMENT, FLOW, WORKSPACE, Column, rows, table
from grafana.src.tasks import TASK

_LOST_STATES: Final = f'state=~"{states.BAD}"'
_OFTEN: Final = steps(GOOD, (0.1, WATCH), (0.5, BAD))


def _lost() -> str:
    return tasks.runs(_LOST_STATES)


def _retried() -> model.Panel:
    return stats(
        "Retries, 7 d",
        "Failed attempts of tasks that another attempt followed. Some are what retries are for; many mean that "
        "something is shaky: the table below says which task.",
        now(or_zero(total(chosen(tasks.week(tasks.RETRIES))))),
        decimals=0,
    )


def _lost_count() -> model.Panel:
    return stats(
        "Tasks lost, 7 days",
        "Task runs that failed, timed out or crashed for good: no retries, or none left. Give what is shaky retries "
        "with a delay; fix what always fails.",
        now(or_zero(total(chosen(_lost())))),
        decimals=0,
        steps=COUNT_IS_BAD,
    )


def _answered() -> model.Panel:
    retried, lost = total(chosen(tasks.week(tasks.RETRIES))), total(chosen(_lost()))
    return stats(
        "Tried again, 7 days",
        "Of all failed attempts of tasks, those that another attempt followed. Low: most failures have no retry at "
        "all; set retries where the cause passes by itself, such as connections and rate limits.",
        now(f"{retried} / ({retried} + {lost} > 0)"),
        unit="percentunit",
        decimals=0,
    )


def _run_retries() -> model.Panel:
    return stats(
        "Run retries, 7 days",
        "Attempts of flow runs beyond the first. They repeat all of the work: retries of tasks cost less.",
        now(or_zero(total(chosen(known("prefect_flow_run_retries_total", window="7d"))))),
        decimals=0,
    )


def _failed_runs() -> model.Panel:
    return stats(
        "Runs failed, 7 days",
        "Runs that failed, timed out or crashed for good, whatever was tried: each run counts once, by its last state. "
        "The causes below count every failure, also of runs that completed after a retry.",
        now(or_zero(total(chosen(_bad_runs())))),
        decimals=0,
        steps=COUNT_IS_BAD,
    )


def _bad_runs() -> str:
    runs = of_pipelines("prefect_flow_run_window_runs", 'window="7d"', 'result="bad"')
    return merged(f"last_over_time({runs}[5m])")


def _most() -> model.Panel:
    most = highest(chosen(f"({tasks.week(tasks.RETRIES)} > 0)"), 15)

    def of_most(expr: str) -> str:
        return f"max by ({TASK}) ({expr} and on ({TASK}) ({most}))"

    return table(
        "Tasks that retry most, 7 days",
        "The fifteen tasks with most retries. More than one retry in ten runs is shaky, one in two is a fault that "
        "retries hide. Lost: failed in spite of them; more patience or another cause.",
        rows(f"max by ({TASK}) ({most})"),
        rows(of_most(tasks.runs())),
        rows(of_most(f"({tasks.week(tasks.RETRIES)} / ({tasks.runs()} > 0))")),
        rows(of_most(_lost())),
        columns=(
            WORKSPACE,
            Column("task", "Task"),
            FLOW,
            DEPLOYMENT,
            Column("Value #A", "Retries", width=75, decimals=0),
            Column("Value #B", "Runs", width=75, decimals=0),
            Column("Value #C", "Retries a run", width=130, decimals=2, steps=_OFTEN, bar=True, full=1),
            Column("Value #D", "Lost", width=60, decimals=0, steps=ANY_IS_BAD),
        ),
        sort="Retries",
        all_good="No task is known to have been retried.",
    )


def _saved_and_lost() -> model.Panel:
    lost = bars(tasks.OUTCOMES, _LOST_STATES, names=SUMMED)
    panel = columns(
        "Tried again and lost",
        "Failed attempts of tasks: those that another attempt followed, and task runs that were lost for good. A "
        "hill of both: an outage that retries did not outlast; wait longer between them.",
        over_time(or_none(total(chosen(bars(tasks.RETRIES)))), "tried again"),
        over_time(or_none(total(chosen(lost))), "lost"),
        step=HOURS,
    )
    return coloured(panel, {"tried again": RETRYING, "lost": BAD})


def _causes(title: str, description: str, metric: str, *labels: str) -> model.Panel:
    causes = total(chosen(known(metric, labels=(*labels, "cause"), window="7d")), "cause")
    panel = ranking(title, description, now(f"sort_desc({causes} > 0)", "{{cause}}"), decimals=0)
    return in_colour(panel, BAD)


def _by_hour() -> model.Panel:
    panel = categories(
        "Failed attempts an hour, by hour of the day (UTC)",
        "Failed attempts of tasks by the hour in which they were counted, mean of seven days. A tall hour: something "
        "else runs then, a backup, a maintenance window, everybody's full hour; move the schedule.",
        rows(clock.by_hour(_failed_attempts("1h"))),
        label=clock.PART,
        texts=clock.HOURS_OF_DAY,
        decimals=1,
    )
    return in_colour(panel, BAD)


def _by_weekday() -> model.Panel:
    panel = categories(
        "Failed attempts a day, by weekday (UTC)",
        "Failed attempts of tasks on each weekday, and on the last two days of a month, mean of four weeks. Mondays: "
        "the weekend's data comes at once. Month end: give what closes the books more time.",
        rows(clock.by_weekday(_failed_attempts("1d"))),
        label=clock.PART,
        texts=clock.DAYS_AND_MONTH_END,
        decimals=1,
    )
    return in_colour(panel, BAD)


def _failed_attempts(window: str) -> str:
    """Retries and lost task runs: both are in a backfill, failures by cause are not."""
    retries, lost = grown(tasks.RETRIES, window=window), grown(tasks.OUTCOMES, _LOST_STATES, window=window)
    return chosen(f"({retries} or {lost})", past=True)  # only what was lost has a state: `or` keeps both


def _failing_flows() -> model.Panel:
    failed = highest(chosen(f"({_bad_runs()} > 0)"))
    return table(
        "Failed most, 7 days",
        "Runs that failed for good. Open the flow for its causes and the last failed run.",
        rows(f"max by ({BY_PIPELINE}) ({failed})"),
        columns=(WORKSPACE, FLOW, DEPLOYMENT, Column("Value", "Failed", width=80, decimals=0)),
        sort="Failed",
        all_good="No failed run is known.",
    )


def dashboard() -> model.Dashboard:
    return board(
        uid="prefect-retries",
        title="Retries and failures",
        description="What fails and is tried again: which tasks, why, what the retries save, and when it happens.",
        variables=variables.of_all_pipelines(),
        refresh="5m",
        bands=[
            band(4, (_retried(), 4), (_lost_count(), 5), (_answered(), 5), (_run_retries(), 5), (_failed_runs(), 5)),
            band(8, (_most(), 24)),
            band(8, (_failing_flows(), 12), (_saved_and_lost(), 12)),
            band(
                11,
                (
                    _causes(
                        "Why flow runs failed, 7 days",
                        "Failed outcomes of flow runs, by cause as read from the message. More than Runs failed above: "
                        "a run that failed, was retried and completed counts here. A backfill brings no causes. The "
                        "longest bar is what to fix first; the flows that fail most are above.",
                        "prefect_flow_run_failures_total",
                    ),
                    12,
                ),
                (
                    _causes(
                        "Why task attempts failed, 7 days",
                        "Failed attempts of tasks, those that a retry saved among them. Connections and rate limits "
                        "ask for retries with a delay, code and data for a fix.",
                        "prefect_task_run_failures_total",
                        "task",
                    ),
                    12,
                ),
                heading="Why",
            ),
            band(8, (_by_hour(), 14), (_by_weekday(), 10), heading="When"),
        ],
    )
