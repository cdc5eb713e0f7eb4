"""Success over the ledger's windows: exact, cheap, and there from the first day on."""

from __future__ import annotations

from grafana.src.promql import PAIR, chosen, lately, merged, of_pairs, total


def window_runs(window: str, result: str = "") -> str:
    """Runs of each pair in a window: 1d, 7d, 30d or slo; result: good, bad or both."""
    which = [f'window="{window}"', *([f'result="{result}"'] if result else [])]
    runs = lately(of_pairs("prefect_flow_run_window_runs", *which))
    return merged(runs) if result else total(merged(runs, "result"), by=PAIR)


def success_by_pair(window: str) -> str:
    return f"{window_runs(window, 'good')} / ({window_runs(window)} > 0)"


def success(window: str) -> str:
    """Over all pairs that are selected."""
    return f"{total(chosen(window_runs(window, 'good')))} / ({total(chosen(window_runs(window)))} > 0)"


def objective() -> str:
    """What the objectives ask for on average, weighed by runs, of pairs that have one."""
    asked = merged(lately(of_pairs("prefect_slo_objective_ratio")))
    runs = window_runs("30d")
    return f"{total(chosen(f'{asked} * {runs}'))} / ({total(chosen(f'{runs} and {asked}'))} > 0)"
