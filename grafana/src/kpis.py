"""One row per day: the table for monthly reports."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.models import dashboard as model

from grafana.src import states
from grafana.src.colours import AGAINST_OBJECTIVE
from grafana.src.panels import Query
from grafana.src.promql import DAYS, at_end, bars, chosen, merged, of_pipelines, total
from grafana.src.tables import Column, table

_DURATION: Final = "prefect_flow_run_duration_seconds"


def _day(expr: str) -> Query:
    return Query(expr, table=True)


def _outcomes(labels: str) -> str:
    return total(chosen(bars("prefect_flow_run_outcomes_total", f'state=~"{labels}"', labels=("state",))))


def _grown(metric: str, *labels: str) -> str:
    return total(chosen(bars(metric, labels=labels)))


def _objective() -> str:
    """The mean of the objectives as declared now, across the whole range."""
    return f"avg({chosen(merged(at_end(of_pipelines('prefect_slo_objective_ratio'))), past=True)})"


def kpi_table() -> model.Panel:
    success = f"{_outcomes(states.COMPLETED)} / ({_outcomes(states.JUDGED)} > 0)"
    panel = table(
        "Day by day",
        "All chosen pipelines together, a row a day, today so far on top. Outcomes count each end of a run: one that "
        "failed, was retried and completed is both. The objective is the mean of those declared. A day that stands "
        "out: click on it in Success by day above.",
        _day(_outcomes(states.JUDGED)),
        _day(_outcomes(states.FAILED)),
        _day(_outcomes(states.CRASHED)),
        _day(success),
        _day(f"{success} - {_objective()}"),
        _day(_grown("prefect_flow_run_retries_total")),
        _day(_grown("prefect_task_run_retries_total", "task")),
        _day(f"{_grown(f'{_DURATION}_sum')} / ({_grown(f'{_DURATION}_count')} > 0)"),
        _day(_grown("prefect_task_run_seconds_total", "task")),
        columns=(
            Column("Time", "Day", unit="time:YYYY-MM-DD ddd"),
            Column("Value #A", "Runs ended", unit="short", decimals=0, width=110),
            Column("Value #B", "Failed", unit="short", decimals=0, width=90),
            Column("Value #C", "Crashed", unit="short", decimals=0, width=100),
            Column("Value #D", "Success", unit="percentunit", decimals=1, width=90),
            Column("Value #E", "vs. objective", unit="percentunit", decimals=1, width=115, steps=AGAINST_OBJECTIVE),
            Column("Value #F", "Flow retries", unit="short", decimals=0, width=110),
            Column("Value #G", "Task retries", unit="short", decimals=0, width=110),
            Column("Value #H", "Mean duration", unit="s", decimals=1, width=120),
            Column("Value #I", "Time in tasks", unit="s", decimals=1),
        ),
        sort="Day",
    )
    panel.interval = DAYS
    panel.time_from = "30d"
    return panel
