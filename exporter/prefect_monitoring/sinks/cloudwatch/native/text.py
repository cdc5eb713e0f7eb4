"""A plan as text."""

from __future__ import annotations

from collections.abc import Iterator

from prefect_monitoring.model.differences import Definition, summary_line, value_text
from prefect_monitoring.model.pushed_metrics import DOLLARS_PER_ALARM, DOLLARS_PER_DASHBOARD
from prefect_monitoring.sinks.cloudwatch.native.difference import Plan


def plan_lines(plan: Plan, dashboard_name: str) -> Iterator[str]:
    for definition in plan.create:
        yield f"  + create   {definition['AlarmName']}"
        yield f"             {definition['AlarmDescription'].splitlines()[0]}"
        yield f"             {_condition(definition)}"
    for change in plan.change:
        yield f"  ~ change   {change.existing.name}"
        for edit in change.edits:
            yield f"             {edit.path}: {value_text(edit.before)} → {value_text(edit.after)}"
    for alarm in plan.destroy:
        yield f"  - destroy  {alarm.name}"
    if plan.dashboard is not None:
        yield f"  + write    dashboard {dashboard_name}, {len(plan.dashboard['widgets']) - 1} charts"
    if plan.destroys_dashboard:
        yield f"  - destroy  dashboard {dashboard_name}"
    for name in plan.silenced:
        yield f"  note: the actions of {name} are switched off in CloudWatch, and stay so"
    create = len(plan.create) + (plan.dashboard is not None)
    yield summary_line(create, len(plan.change), len(plan.destroy) + plan.destroys_dashboard, plan.unchanged)


def cost_line(alarms: int) -> str:
    """The monthly cost of the alarms and one dashboard."""
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
