"""What needs attention now, and how it went."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as model

from grafana.src import variables
from grafana.src.colours import STATES, SUCCESS
from grafana.src.layout import band, board
from grafana.src.panels import coloured, columns, now, over_time, stats
from grafana.src.promql import HOURS, bars, chosen, lately, merged, of_pairs, total


def _success_ratio(window: str) -> str:
    """Of the ledger's window, over all pairs."""
    runs = "prefect_flow_run_window_runs", f'window="{window}"'
    good = total(chosen(merged(lately(of_pairs(*runs, 'result="good"')))))
    both = total(chosen(merged(lately(of_pairs(*runs)), "result")))
    return f"{good} / {both}"


def _success() -> model.Panel:
    windows = (("1d", "24 h"), ("7d", "7 days"), ("30d", "30 days"))
    return stats(
        "Success rate",
        "Runs that completed, of those that ended well or badly; each run counts once, by its last state. "
        "Below the objective: see what needs attention, then Retries and failures.",
        *(now(_success_ratio(window), name) for window, name in windows),
        unit="percentunit",
        steps=SUCCESS,
        decimals=1,
    )


def _runs_by_state() -> model.Panel:
    panel = columns(
        "Runs by state",
        "Flow runs that ended, by how. Many failed at once: a shared cause, see Retries and failures. "
        "None at all: see Workers and queues.",
        over_time(total(chosen(bars("prefect_flow_run_outcomes_total", labels=("state",))), "state"), "{{state}}"),
        step=HOURS,
    )
    return coloured(panel, STATES)


def dashboard() -> model.Dashboard:
    return board(
        uid="prefect-overview",
        title="Overview",
        description="What needs attention now, and how it went.",
        variables=variables.of_pipelines(),
        bands=[
            band(5, (_success(), 24)),
            band(8, (_runs_by_state(), 24), heading="How it went"),
        ],
    )
