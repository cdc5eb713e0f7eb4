"""Joins for tables: criticality and team of a pipeline, its last failed run, the address of Prefect."""

from __future__ import annotations

from typing import Final

from grafana.src.promql import BY_PIPELINE, lately, merged

# Every pipeline with run statistics has it, also those without a policy.
_EVERY_PIPELINE: Final = f"0 * {merged(lately('prefect_flow_run_consecutive_failures'))} + 1"


def _one(series: str, *labels: str) -> str:
    """One series per pipeline: for a minute around a change, replicas may have two, and a join would fail."""
    return f"topk by ({BY_PIPELINE}) (1, {merged(series, *labels)})"


def with_policy(expr: str) -> str:
    """Adds criticality and team; they are empty if nothing is declared. The value stays."""
    policy = _one(lately("prefect_pipeline_info"), "criticality", "team")
    return (
        f"({expr})\n* on ({BY_PIPELINE}) group_left (criticality, team)"
        f" (\n  {policy}\n  or on ({BY_PIPELINE}) {_EVERY_PIPELINE}\n)"
    )


def with_failed_run(expr: str) -> str:
    """Adds cause, flow_run_id and flow_run_name of the last failed run, if the pipeline has not completed since."""
    labels = ("cause", "flow_run_id", "flow_run_name")
    run = _one("prefect_flow_run_last_failure_info", *labels)
    every_pipeline = f"{_EVERY_PIPELINE}\n  or on ({BY_PIPELINE}) {merged(lately('prefect_pipeline_info'))}"
    known = f"{run}\n  or on ({BY_PIPELINE}) {every_pipeline}"
    return f"({expr})\n* on ({BY_PIPELINE}) group_left ({', '.join(labels)}) (\n  {known}\n)"


def with_prefect_url(expr: str) -> str:
    """Adds prefect_url, the address of Prefect's UI."""
    url = f"topk by (workspace) (1, max by (workspace, prefect_url) ({lately('prefect_exporter_links_info')}))"
    return f"({expr})\n* on (workspace) group_left (prefect_url) {url}"
