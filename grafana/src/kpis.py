"""One row per day: the table for monthly reports."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.models import dashboard as model

from grafana.src import states
from grafana.src.colours import AGAINST_OBJECTIVE
from grafana.src.panels import Query
from grafana.src.promql import DAYS, at_end, bars, chosen, merged, of_pipelines, or_none, total
from grafana.src.tables import Column, table

_DURATION: Final = "prefect_flow_run_duration_seconds"
_BROKEN: Final = "failed or crashed"
_ENDED: Final = "ended"
_SUCCESS: Final = "share completed"


def _day(expr: str) -> Query:
    return Query(expr, table=True)


def _outcomes(labels: str) -> Query:
    return _grown("prefect_flow_run_outcomes_total", f'state=~"{labels}"')


def _grown(metric: str, *matchers: str) -> Query:
    return _day(or_none(total(chosen(bars(metric, *matchers)))))


def _objective() -> Query:
    """The mean of the objectives as declared now, across the whole range."""
    return _day(f"avg({chosen(merged(at_end(of_pipelines('prefect_slo_objective_ratio'))), past=True)})")


def kpi_table() -> model.Panel:
    panel = table(
        "Day by day",
        "All chosen pipelines together, a row a day, today so far on top. Outcomes count each end of a run: one that "
        "failed, was retried and completed is both. The objective is the mean of those declared. A day that stands "
        "out: click on it in Success by day above.",
        _outcomes(states.COMPLETED),
        _outcomes(states.FAILED),
        _outcomes(states.CRASHED),
        _objective(),
        _grown("prefect_flow_run_retries_total"),
        _grown("prefect_task_run_retries_total"),
        _grown(f"{_DURATION}_sum"),
        _grown(f"{_DURATION}_count"),
        columns=(
            Column("Time", "Day", unit="time:YYYY-MM-DD ddd"),
            # Computed by Grafana: each further query would read the outcomes of a month again.
            Column(_BROKEN, _BROKEN, hidden=True, computed=("Value #B", "+", "Value #C")),
            Column(_ENDED, "Runs ended", unit="short", decimals=0, width=110, computed=("Value #A", "+", _BROKEN)),
            Column("Value #B", "Failed", unit="short", decimals=0, width=90),
            Column("Value #C", "Crashed", unit="short", decimals=0, width=100),
            Column(
                _SUCCESS,
                "Success",
                unit="percentunit",
                decimals=1,
                width=90,
                computed=("Value #A", "/", _ENDED),
            ),
            Column(
                "over objective",
                "vs. objective",
                unit="percentunit",
                decimals=1,
                width=115,
                steps=AGAINST_OBJECTIVE,
                computed=(_SUCCESS, "-", "Value #D"),
            ),
            Column("Value #E", "Flow retries", unit="short", decimals=0, width=110),
            Column("Value #F", "Task retries", unit="short", decimals=0, width=110),
            Column("mean", "Mean duration", unit="s", decimals=1, width=120, computed=("Value #G", "/", "Value #H")),
        ),
        sort="Day",
    )
    panel.interval = DAYS
    panel.time_from = "30d"
    return panel
