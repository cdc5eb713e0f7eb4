"""Success over the ledger's windows: exact, cheap, and available from the first day."""

from __future__ import annotations

from collections.abc import Callable

from grafana_foundation_sdk.models import dashboard as model

from grafana.src.colours import BAD, CALM, GOOD
from grafana.src.fields import of_query
from grafana.src.panels import now, stats
from grafana.src.promql import BY_PIPELINE, chosen, lately, merged, of_pipelines, total


def window_runs(window: str, result: str = "") -> str:
    """Runs of each pipeline in a window: 1d, 7d, 30d or slo; result: good, bad or both."""
    which = [f'window="{window}"', *([f'result="{result}"'] if result else [])]
    runs = lately(of_pipelines("prefect_flow_run_window_runs", *which))
    return merged(runs) if result else total(merged(runs, "result"), by=BY_PIPELINE)


def success_by_pipeline(window: str) -> str:
    return f"{window_runs(window, 'good')} / ({window_runs(window)} > 0)"


def declared() -> str:
    """The objective of each pipeline that has one."""
    return merged(lately(of_pipelines("prefect_slo_objective_ratio")))


def over_objective(ratio: str) -> str:
    """By how much the ratio of each pipeline is above its objective; below it, less than 0."""
    return f"{ratio} - on ({BY_PIPELINE}) {declared()}"


def success(window: str) -> str:
    """Over all selected pipelines."""
    return f"{total(chosen(window_runs(window, 'good')))} / ({total(chosen(window_runs(window)))} > 0)"


def objective() -> str:
    """The mean objective, weighted by runs, of pipelines that have one."""
    asked = declared()
    runs = window_runs("30d")
    return f"{total(chosen(f'{asked} * {runs}'))} / ({total(chosen(f'{runs} and {asked}'))} > 0)"


def success_panel(description: str, asked: str, ratio: Callable[[str], str]) -> model.Panel:
    """Success over a day, a week and a month, each coloured by whether it meets the objective."""
    windows = (("1d", "24 h"), ("7d", "7 days"), ("30d", "30 days"))
    # Thresholds are fixed numbers: so there is one query for ratios that meet the objective, one for those that do not,
    # and one without an objective.
    queries = [
        now(f"({ratio(window)}) {compared} ({asked})", name)
        for window, name in windows
        for compared in (">=", "<", "unless")
    ]
    panel = stats("Success rate", description, *queries, now(asked, "objective"), unit="percentunit", decimals=1)
    for met, missed in ("AB", "DE", "GH"):
        of_query(of_query(panel, met, GOOD), missed, BAD)
    return of_query(panel, "J", CALM)
