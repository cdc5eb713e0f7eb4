"""The examples of docs/automations.md are valid, and its recipes for Prefect compile to automations."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from prefect_monitoring.automations.native.compile import Directory, compile_rules
from prefect_monitoring.cli import make_parser
from prefect_monitoring.model.automations import NotificationBlock
from prefect_monitoring.model.records import Pipeline
from prefect_monitoring.policy.action_rules import RULES
from prefect_monitoring.policy.pipelines_file import parse_pipelines
from prefect_monitoring.policy.resolve import Policies

PAGE = (Path(__file__).parents[2] / "docs/automations.md").read_text(encoding="utf-8")
RECIPES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
DEPLOYMENTS = [
    Pipeline(flow, "production")
    for flow in ("dbt-daily-pipeline", "lightdash-refresh", "currency-rates", "extract-orders")
]
BLOCKS = (
    NotificationBlock("b1", "data-alerts", "slack-webhook", "Slack Webhook"),
    NotificationBlock("b2", "on-call", "pager-duty-webhook", "Pager Duty Webhook"),
)


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipe_is_valid_and_names_existing_objects(recipe: str) -> None:
    policies = Policies(parse_pipelines(recipe, "recipe"))
    policy_of = {pipeline: policies.of(pipeline, ()) for pipeline in DEPLOYMENTS}
    directory = Directory({pipeline: "/".join(pipeline) for pipeline in DEPLOYMENTS}, BLOCKS)

    compiled = compile_rules({pipeline: policy for pipeline, policy in policy_of.items() if policy}, directory)
    assert compiled.faults == ()
    native = "by: prefect" in recipe or "notify:" in recipe or "cancel:" in recipe
    assert bool(compiled.rules) == native


def test_every_rule_has_a_recipe() -> None:
    for rule in RULES:
        assert any(f"{rule}: {{" in text for text in RECIPES) or f"`{rule}: {{" in PAGE, rule


@pytest.mark.parametrize("step", re.findall(r"^prefect-monitoring automations (\w+)", PAGE, re.MULTILINE))
def test_command_exists(step: str) -> None:
    assert make_parser().parse_args(["automations", step]).step == step
