"""The migration guide: its queries parse, name existing metrics only, and cover those of the other exporter."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from prefect_monitoring.config.settings import OPTIONS, env_name
from prefect_monitoring.metrics import CATALOGUE
from support.promql_labels import UnknownNameError, reader

GUIDE = (Path(__file__).parents[2] / "docs/migration.md").read_text(encoding="utf-8")
# What PrefectHQ/prometheus-prefect-exporter exposes.
THEIRS = {
    "prefect_deployment_failed_flow_runs",
    "prefect_deployments_total",
    "prefect_flow_runs_ongoing_run_time",
    "prefect_flow_runs_total",
    "prefect_flow_runs_total_run_time",
    "prefect_flows_total",
    "prefect_info_deployment",
    "prefect_info_flow_runs",
    "prefect_info_flows",
    "prefect_info_work_pools",
    "prefect_info_work_queues",
    "prefect_work_pools_total",
    "prefect_work_queues_late_runs_count",
    "prefect_work_queues_total",
}


def section(title: str) -> str:
    """The text from a heading to the next of the same level."""
    level = title.partition(" ")[0]
    _, heading, body = GUIDE.partition(f"\n{title}\n")
    assert heading, title
    return re.split(rf"^{level} ", body, maxsplit=1, flags=re.MULTILINE)[0]


def in_blocks() -> list[str]:
    """The queries of the blocks: each line that is not indented begins a query."""
    queries: list[str] = []
    for block in re.findall(r"^```promql\n(.*?)^```", section("## Metrics"), re.DOTALL | re.MULTILINE):
        for line in block.splitlines():
            if line.startswith(" "):
                queries[-1] += "\n" + line
            elif line and not line.startswith("#"):
                queries.append(line)
    return queries


def in_line() -> list[str]:
    """Every code span in the text with a metric name, except the other exporter's, as Markdown shows it."""
    text = re.sub(r"^```.*?^```", "", section("## Metrics") + section("## Panels"), flags=re.DOTALL | re.MULTILINE)
    code = [span.replace(r"\|", "|") for span in re.findall(r"`([^`]+)`", text)]
    return [span for span in code if "prefect_" in span and span not in THEIRS and not span.startswith("label_values")]


QUERIES = [*in_blocks(), *in_line()]


def test_guide_has_queries() -> None:
    assert len(in_blocks()) >= 20
    assert len(in_line()) >= 30


@pytest.mark.parametrize("query", QUERIES)
def test_metrics_and_labels_of_a_query_exist(query: str) -> None:
    histograms = {metric.name for metric in CATALOGUE if metric.kind == "histogram"}
    if query not in histograms:  # the guide mentions these, and queries their parts
        reader().labels(query)


@pytest.mark.parametrize(
    "wrong", ["prefect_flow_run_outcome_total", 'prefect_up{flow="x"}', "sum by (flo) (prefect_flow_runs)"]
)
def test_unknown_name_in_a_query_is_rejected(wrong: str) -> None:
    with pytest.raises(UnknownNameError):
        reader().labels(wrong)


@pytest.mark.parametrize("metric", sorted(THEIRS))
def test_each_of_their_metrics_is_in_the_guide(metric: str) -> None:
    first_column = [line.split("|")[1] for line in section("## Metrics").splitlines() if line.startswith("| `prefect_")]
    assert any(f"`{metric}`" in cell for cell in first_column)


def test_no_metric_name_is_in_both_exporters() -> None:
    ours = {metric.name for metric in CATALOGUE}
    samples = {name + suffix for name in ours for suffix in ("", "_bucket", "_sum", "_count", "_created")}
    assert not THEIRS & samples


def test_metrics_and_labels_of_variables_exist() -> None:
    asked = re.findall(r"label_values\((\w+), (\w+)\)", GUIDE)
    ours = {metric.name: metric.labels for metric in CATALOGUE}
    assert {metric for metric, _ in asked} - THEIRS
    assert all(label in ours[metric] for metric, label in asked if metric not in THEIRS)


def test_options_exist() -> None:
    named = set(re.findall(r"PREFECT_MONITORING_\w+", GUIDE))
    assert named
    assert named <= {env_name(option) for option in OPTIONS}


def test_anchors_lead_to_headings() -> None:
    headings = {
        re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)", GUIDE, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([\w-]+)\)", GUIDE)) <= headings
