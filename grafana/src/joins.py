"""What a table says beside its numbers: whose a pair is, which run failed last, where Prefect's pages are."""

from __future__ import annotations

from typing import Final

from grafana.src.promql import PAIR, lately, merged

# Every pair with a standing has it, also those that no policy names.
_EVERY_PAIR: Final = f"0 * {merged(lately('prefect_flow_run_consecutive_failures'))} + 1"


def _one(series: str, *labels: str) -> str:
    """One series a pair: for a minute around a change, replicas may tell two, and a join would fail."""
    return f"topk by ({PAIR}) (1, {merged(series, *labels)})"


def with_policy(expr: str) -> str:
    """Adds criticality and team; they are empty where nothing is declared. The value stays."""
    policy = _one(lately("prefect_pipeline_info"), "criticality", "team")
    return f"({expr})\n* on ({PAIR}) group_left (criticality, team) (\n  {policy}\n  or on ({PAIR}) {_EVERY_PAIR}\n)"


def with_failed_run(expr: str) -> str:
    """Adds cause, flow_run_id and flow_run_name of the last failed run, where the pair has not completed since."""
    labels = ("cause", "flow_run_id", "flow_run_name")
    run = _one("prefect_flow_run_last_failure_info", *labels)
    rest = f"{_EVERY_PAIR}\n  or on ({PAIR}) {merged(lately('prefect_pipeline_info'))}"
    return f"({expr})\n* on ({PAIR}) group_left ({', '.join(labels)}) (\n  {run}\n  or on ({PAIR}) {rest}\n)"


def with_prefect_url(expr: str) -> str:
    """Adds prefect_url, where people open Prefect."""
    url = f"topk by (workspace) (1, max by (workspace, prefect_url) ({lately('prefect_exporter_links_info')}))"
    return f"({expr})\n* on (workspace) group_left (prefect_url) {url}"
