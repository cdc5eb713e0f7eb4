"""Panels about the present show unknown, never 0, while the Prefect API does not answer. Evaluated by promtool."""

from pathlib import Path
from typing import Any

import yaml

from dashboards.pages import Query, all_of, queries
from support.prometheus import promtool

PIPELINE = '{workspace="w",flow="etl",deployment="daily"}'
READ = "prefect_exporter_source_last_success_timestamp_seconds"
# Scraped every 15 s; after two minutes the API is down, and the series that depend on it end.
SERIES = {
    'prefect_up{workspace="w"}': "1x8 0x20",
    f'{READ}{{workspace="w",source="finished_flow_runs"}}': "0+15x8 120x20",
    f"prefect_flow_run_consecutive_failures{PIPELINE}": "0x28",
    f'prefect_flow_runs{PIPELINE[:-1]},work_pool="k8s",state="running"}}': "2x8 stale",
    f"prefect_deployment_paused{PIPELINE}": "0x8 stale",
    f"prefect_deployment_last_due_timestamp_seconds{PIPELINE}": "60x8 stale",
    f"prefect_deployment_next_due_timestamp_seconds{PIPELINE}": "86460x8 stale",
    # Must succeed every 90 s, and does so until the outage.
    f"prefect_slo_max_staleness_seconds{PIPELINE}": "90x28",
    f'prefect_flow_run_last_outcome_timestamp_seconds{PIPELINE[:-1]},state="completed"}}': "0+15x8 120x20",
    # Nothing has ended that counts, so no share and no mean of it is a number.
    f'prefect_flow_run_window_runs{PIPELINE[:-1]},window="slo",result="good"}}': "0x28",
}
WELL, DOWN = "2m", "6m"
NAMED = 'workspace="w",flow="etl",deployment="daily",pipeline="etl/daily"'
SAID: dict[str, tuple[dict[str, float], dict[str, float]]] = {
    "prefect-overview: Need attention A": ({"{}": 0}, {}),
    "prefect-overview: Running A": ({"{}": 2}, {}),
    "prefect-overview: Daily flows today (UTC) A": ({"{}": 1}, {}),
    "prefect-overview: Daily flows today (UTC) B": ({"{}": 0}, {}),
    "prefect-overview: Needs attention A": (
        {},
        {'{workspace="w",problem="not known",pipeline="Prefect API or exporter down: w"}': 240},
    ),
    "prefect-flow: Right now A": ({f"{{{NAMED}}}": 2}, {}),
    "prefect-flow: Right now D": ({f"{{{NAMED}}}": 0}, {}),
    "prefect-slo: Overdue A": ({"{}": 0}, {}),
    "prefect-slo: Objectives and budgets C": ({}, {}),
    "prefect-workers: Late runs A": ({"{}": 0}, {}),
}


def test_panels_about_the_present_show_unknown_while_the_api_is_down(tmp_path: Path) -> None:
    asked = {str(query): query for query in queries()}
    expected = [
        {"expr": _filled(asked[name]), "eval_time": at, "exp_samples": _samples(samples)}
        for name, said in SAID.items()
        for at, samples in zip((WELL, DOWN), said, strict=True)
    ]
    inputs = [{"series": series, "values": values} for series, values in SERIES.items()]
    test = {"interval": "15s", "input_series": inputs, "promql_expr_test": expected}
    file = tmp_path / "outage.yml"
    file.write_text(yaml.safe_dump({"rule_files": [], "tests": [test]}), encoding="utf-8")
    done = promtool("test", "rules", file, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def _samples(samples: dict[str, float]) -> list[dict[str, Any]]:
    return [{"labels": labels, "value": value} for labels, value in samples.items()]


def _filled(query: Query) -> str:
    return query.filled({name: all_of(variable) for name, variable in query.page.variables.items()})
