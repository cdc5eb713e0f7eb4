"""A plan as people read it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prefect_monitoring.model.pushed_metrics import DOLLARS_PER_ALARM, DOLLARS_PER_DASHBOARD
from prefect_monitoring.sinks.cloudwatch.native.difference import Definition, Plan


def plan_lines(plan: Plan, dashboard_name: str) -> Iterator[str]:
    for definition in plan.create:
        yield f"  + create   {definition['AlarmName']}"
        yield f"             {definition['AlarmDescription'].splitlines()[0]}"
        yield f"             {_condition(definition)}"
    for change in plan.change:
        yield f"  ~ change   {change.alarm.name}"
        for edit in change.edits:
            yield f"             {edit.path}: {_shown(edit.before)} → {_shown(edit.after)}"
    for alarm in plan.destroy:
        yield f"  - destroy  {alarm.name}"
    if plan.dashboard is not None:
        yield f"  + write    dashboard {dashboard_name}, {len(plan.dashboard['widgets']) - 1} charts"
    if plan.destroys_dashboard:
        yield f"  - destroy  dashboard {dashboard_name}"
    for name in plan.silenced:
        yield f"  note: the actions of {name} are switched off in CloudWatch, and stay so"
    counts = (
        (len(plan.create) + (plan.dashboard is not None), "create"),
        (len(plan.change), "change"),
        (len(plan.destroy) + plan.destroys_dashboard, "destroy"),
    )
    todo = ", ".join(f"{count} to {what}" for count, what in counts)
    yield f"{'Nothing to change' if plan.is_empty else todo}; {plan.unchanged} unchanged"


def cost_line(alarms: int) -> str:
    """What so many alarms and one dashboard cost a month."""
    return (
        f"{alarms} alarms are about ${alarms * DOLLARS_PER_ALARM:.2f} a month, a dashboard is"
        f" ${DOLLARS_PER_DASHBOARD:.2f} beyond the first three of the account"
    )


def _condition(definition: Definition) -> str:
    comparisons = {
        "GreaterThanOrEqualToThreshold": "≥",
        "GreaterThanThreshold": ">",
        "LessThanThreshold": "<",
    }
    minutes = definition["Period"] * definition["EvaluationPeriods"] // 60
    return (
        f"{definition['Statistic']} of {definition['MetricName']} {comparisons[definition['ComparisonOperator']]}"
        f" {definition['Threshold']:g} over {minutes} min"
    )


def _shown(value: Any) -> str:
    """A value on one line."""
    return " ".join(str(value).split()) if value is not None else "nothing"
