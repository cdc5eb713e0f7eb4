"""The examples of docs/cloudwatch.md are valid, its names exist and its figures are those of the code."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from prefect_monitoring.cli import make_parser
from prefect_monitoring.commands.check_cloudwatch import costs_of
from prefect_monitoring.config.loading import load_settings
from prefect_monitoring.config.settings import CloudWatchSettings
from prefect_monitoring.metrics import CATALOGUE
from prefect_monitoring.model.pushed_metrics import DOLLARS_PER_ALARM, DOLLARS_PER_DASHBOARD, DOLLARS_PER_METRIC
from prefect_monitoring.policy.resolve import Policy
from prefect_monitoring.sinks.cloudwatch.metrics import PUSHED_METRICS, PushedMetric
from prefect_monitoring.sinks.cloudwatch.native.compile import SILENT_MINUTES, compile_rules
from unit.snapshots import PIPELINE

PAGE = (Path(__file__).parents[2] / "docs/cloudwatch.md").read_text(encoding="utf-8")
OPTIONS, COLLECTOR, DATADOG = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("metric", PUSHED_METRICS.values(), ids=lambda metric: metric.name)
def test_every_pushed_metric_is_described(metric: PushedMetric) -> None:
    assert f"| `{metric.name}` | {metric.unit} | {metric.help} |\n" in PAGE


@pytest.mark.parametrize("row", re.findall(r"^\| (\d+) \| (\d+) \| (\$[\d.,]+) \|$", PAGE, re.MULTILINE))
def test_costs_are_those_that_check_prints(row: tuple[str, str, str]) -> None:
    pipelines, metrics, dollars = row
    text = costs_of(int(pipelines), CloudWatchSettings())
    assert f"are {metrics} metrics, at most about {dollars} a month" in text


def test_prices_are_those_of_the_code() -> None:
    for dollars in (DOLLARS_PER_METRIC, DOLLARS_PER_ALARM, DOLLARS_PER_DASHBOARD):
        assert f"${dollars:.2f}" in PAGE
    assert len(re.findall(r"^\| \d+ \| \d+ \| \$", PAGE, re.MULTILINE)) == 3


def test_every_alarm_is_described() -> None:
    promised = {PIPELINE: Policy(max_duration=1.0, max_staleness=1.0)}
    titles = [rule.title.removeprefix("etl/daily ") for rule in compile_rules(promised, tuple(PUSHED_METRICS)).rules]
    assert titles == re.findall(
        r"^\| ([a-z ]+) \| .* \| .*\|$", PAGE.partition("| Alarm |")[2].partition("\n\n")[0], re.MULTILINE
    )
    assert f"nothing was pushed for {SILENT_MINUTES} minutes" in PAGE


@pytest.mark.parametrize("step", re.findall(r"^prefect-monitoring cloudwatch (\w+)", PAGE, re.MULTILINE))
def test_command_exists(step: str) -> None:
    assert make_parser().parse_args(["cloudwatch", step]).step == step


def test_options_are_valid(tmp_path: Path) -> None:
    (tmp_path / "options.yml").write_text(OPTIONS, encoding="utf-8")
    assert load_settings({}, {}, tmp_path / "options.yml").cloudwatch.cloudwatch_pipelines


def test_policy_for_aws_is_json() -> None:
    (text,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    assert json.loads(text)["Statement"][0]["Condition"]["StringEquals"] == {
        "cloudwatch:namespace": CloudWatchSettings().cloudwatch_namespace
    }


# The recipes

NAMES = {metric.name for metric in CATALOGUE}


def test_collector_keeps_existing_metrics_and_uses_all_it_defines() -> None:
    recipe: dict[str, Any] = yaml.safe_load(COLLECTOR)
    (scrape,) = recipe["receivers"]["prometheus"]["config"]["scrape_configs"]
    (kept,) = scrape["metric_relabel_configs"]
    assert set(kept["regex"].split("|")) <= NAMES
    used = recipe["service"]["pipelines"]["metrics"]
    for kind in ("receivers", "processors", "exporters"):
        assert set(used[kind]) == recipe[kind].keys()
    assert set(recipe["service"]["extensions"]) == recipe["extensions"].keys()
    assert recipe["exporters"]["otlphttp"]["auth"]["authenticator"] in recipe["extensions"]
    assert recipe["extensions"]["sigv4auth"]["region"] in recipe["exporters"]["otlphttp"]["metrics_endpoint"]


def test_datadog_names_existing_metrics_without_the_total_suffix() -> None:
    recipe: dict[str, Any] = yaml.safe_load(DATADOG)
    (instance,) = recipe["instances"]
    expected = {metric.name.removesuffix("_total") if metric.kind == "counter" else metric.name for metric in CATALOGUE}
    named = {name for metric in instance["metrics"] for name in metric}
    assert named <= expected
    assert not {name for name in named if name.endswith("_total")}
