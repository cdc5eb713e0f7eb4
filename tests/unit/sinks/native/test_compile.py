"""Alarms and charts for the pipelines file, and which of them have to change."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest

from prefect_monitoring.model.differences import Edit
from prefect_monitoring.model.pushed_metrics import PUSHED_NAMES
from prefect_monitoring.model.records import Pipeline
from prefect_monitoring.policy.resolve import Policy
from prefect_monitoring.sinks.cloudwatch.native.compile import MOST_CHARTED, compile_rules
from prefect_monitoring.sinks.cloudwatch.native.definition import Installation
from prefect_monitoring.sinks.cloudwatch.native.difference import Alarm, plan
from prefect_monitoring.sinks.cloudwatch.native.text import plan_lines

DAILY = Pipeline("etl", "daily")
PROD = Installation("prod", "DataPipelines", ("arn:aws:sns:eu-west-1:123456789012:ops",))
PROMISED = Policy(objective=0.9, max_duration=1800.0, max_staleness=93600.0)


def alarms_of(policies: dict[Pipeline, Policy], pushed: Any = PUSHED_NAMES) -> dict[str, dict[str, Any]]:
    compiled = compile_rules(policies, pushed)
    alarms = [PROD.alarm(rule) for rule in compiled.rules]
    return {alarm["AlarmName"].removeprefix(PROD.prefix): alarm for alarm in alarms}


def test_pipeline_has_an_alarm_for_each_objective() -> None:
    alarms = alarms_of({DAILY: PROMISED})
    conditions = {
        name: (
            alarm["MetricName"],
            alarm["Statistic"],
            alarm["ComparisonOperator"],
            alarm["Threshold"],
            alarm["TreatMissingData"],
        )
        for name, alarm in alarms.items()
    }
    assert conditions == {
        "exporter silent": ("PrefectUp", "SampleCount", "LessThanThreshold", 1.0, "breaching"),
        "etl/daily failures": ("ConsecutiveFailures", "Maximum", "GreaterThanOrEqualToThreshold", 1.0, "ignore"),
        "etl/daily success ratio": ("BudgetLeft", "Minimum", "LessThanThreshold", 0.0, "ignore"),
        "etl/daily duration": ("RunDuration", "Maximum", "GreaterThanThreshold", 1800.0, "notBreaching"),
        "etl/daily no data": ("LastSuccessAge", "Maximum", "GreaterThanThreshold", 93600.0, "ignore"),
    }
    failures = alarms["etl/daily failures"]
    assert failures["Dimensions"] == [
        {"Name": "Deployment", "Value": "daily"},
        {"Name": "Flow", "Value": "etl"},
        {"Name": "Installation", "Value": "prod"},
    ]
    assert failures["AlarmActions"] == failures["OKActions"] == list(PROD.actions)
    assert alarms["exporter silent"]["Dimensions"] == [{"Name": "Installation", "Value": "prod"}]
    assert "90 % of the runs of 30d" in alarms["etl/daily success ratio"]["AlarmDescription"]


def test_undeclared_or_unpushed_metric_has_no_alarm_but_a_note() -> None:
    compiled = compile_rules({DAILY: Policy()}, ("ConsecutiveFailures",))
    assert [rule.title for rule in compiled.rules] == ["exporter silent", "etl/daily failures"]
    assert [chart.metric for chart in compiled.charts] == ["ConsecutiveFailures"]
    assert compiled.notes == (
        "no alarm for success ratio: cloudwatch_metrics leaves BudgetLeft out",
        "no alarm for duration: cloudwatch_metrics leaves RunDuration out",
        "no alarm for no data: cloudwatch_metrics leaves LastSuccessAge out",
        "no alarm for duration of 1 pipeline: they declare no slo.max_duration",
        "no alarm for no data of 1 pipeline: they declare no slo.max_staleness",
    )


def test_low_pipelines_alarm_at_the_third_failure() -> None:
    assert alarms_of({DAILY: Policy(criticality="low")})["etl/daily failures"]["Threshold"] == 3


def test_long_names_are_shortened_and_stay_distinct() -> None:
    names = {name for end in "ab" for name in alarms_of({Pipeline("x" * 300, end): Policy()}) if "xxx" in name}
    assert len(names) == 4
    assert all(len(PROD.prefix + name) <= 255 for name in names)


def test_dashboard_shows_the_most_critical_pipelines_within_the_limits_of_cloudwatch() -> None:
    policies = {Pipeline("etl", f"{number:03}"): Policy(criticality="standard") for number in range(150)}
    policies[Pipeline("zzz", "")] = Policy(criticality="critical")
    compiled = compile_rules(policies, PUSHED_NAMES)
    body = PROD.dashboard(compiled.charts, compiled.pipelines, "eu-west-1")
    heading, *charts = body["widgets"]
    assert PROD.owns_dashboard(json.dumps(body))
    assert not Installation("staging", "x").owns_dashboard(json.dumps(body))
    assert not PROD.owns_dashboard("no JSON")
    assert all(len(chart["properties"]["metrics"]) == MOST_CHARTED <= 500 for chart in charts)
    assert len(charts) * MOST_CHARTED <= 2500
    first = ["DataPipelines", "RunsFailed", "Flow", "zzz", "Installation", "prod", {"label": "zzz"}]
    assert charts[0]["properties"]["metrics"][0] == first
    places = [(widget["x"], widget["y"]) for widget in body["widgets"]]
    assert len(set(places)) == len(places)
    assert "the dashboard shows 100 of 151 pipelines, the most critical ones" in compiled.notes
    assert heading["width"] == 24


def test_no_matching_pipeline_creates_nothing() -> None:
    compiled = compile_rules({}, PUSHED_NAMES)
    assert (compiled.rules, compiled.charts) == ((), ())
    assert compiled.notes


# The difference

DEFINITION = alarms_of({DAILY: Policy()})["etl/daily failures"]


def existing(*, enabled: bool = True, **changes: Any) -> Alarm:
    """DEFINITION as CloudWatch returns it after creation."""
    held = {**deepcopy(DEFINITION), "StateValue": "OK", "AlarmArn": "arn", "InsufficientDataActions": [], **changes}
    return Alarm(held["AlarmName"], enabled, held)


@pytest.mark.parametrize(
    "changes", [{}, {"Dimensions": DEFINITION["Dimensions"][::-1]}, {"Threshold": 1}, {"StateValue": "ALARM"}]
)
def test_unchanged_automation_needs_no_change(changes: dict[str, Any]) -> None:
    difference = plan([DEFINITION], [existing(**changes)], {"widgets": []}, {"widgets": []})
    assert difference.is_empty
    assert difference.unchanged == 2


def test_edits_are_shown_and_disabled_actions_are_kept() -> None:
    difference = plan([DEFINITION], [existing(enabled=False, Threshold=5.0, AlarmActions=[])])
    (change,) = difference.change
    assert change.edits == (Edit("Threshold", 5.0, 1.0), Edit("AlarmActions", [], list(PROD.actions)))
    lines = list(plan_lines(difference, PROD.dashboard_name))
    assert "             Threshold: 5.0 → 1.0" in lines
    assert f"  note: the actions of {DEFINITION['AlarmName']} are switched off in CloudWatch, and stay so" in lines
    assert lines[-1] == "0 to create, 1 to change, 0 to destroy; 0 unchanged"


def test_undeclared_alarm_and_dashboard_are_destroyed() -> None:
    difference = plan([], [existing()], None, {"widgets": []})
    assert list(plan_lines(difference, PROD.dashboard_name)) == [
        f"  - destroy  {DEFINITION['AlarmName']}",
        "  - destroy  dashboard prefect-monitoring-prod",
        "0 to create, 0 to change, 2 to destroy; 0 unchanged",
    ]
