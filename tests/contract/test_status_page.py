"""The status page calls a pipeline what the alerts call it: its limits are theirs."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from prefect_monitoring.web.status_page import conditions as states

RULES = Path(__file__).parents[2] / "prometheus/rules"


def expressions(alert: str) -> str:
    found = [
        rule["expr"]
        for file in sorted(RULES.glob("*.yml"))
        for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]
        for rule in group["rules"]
        if alert in (rule.get("alert"), rule.get("record"))
    ]
    assert found, alert
    return " ".join(" ".join(found).split())


@pytest.mark.parametrize(
    ("alert", "expected"),
    [
        ("PrefectStartLate", f'{{state="late"}}) > {states.LATE_SECONDS} '),
        ("PrefectStartMissed", f"(prefect_deployment_last_due_timestamp_seconds) > {states.MISSED_SECONDS} "),
        (
            "PrefectRunStuck",
            '{state=~"pending|submitting|infrastructure_pending|awaiting_retry|cancelling"})'
            f" > {states.STUCK_SECONDS} ",
        ),
        ("PrefectRunStuck", f'{{state="awaiting_concurrency_slot"}}) > {states.SLOT_SECONDS} '),
        ("PrefectRunTooLong", f"clamp_min({states.USUAL_FACTOR} * max by"),
        ("PrefectRunTooLong", f'{{window="30d"}}[5m])), {states.LONG_SECONDS}) '),
        ("PrefectZombieRun", f"{states.DEAD_SECONDS // 3600} * 3600 * flow_deployment:prefect_pipeline_info:highest"),
        ("flow_deployment:prefect_slo_grace_seconds:with_duration", f"{states.USUAL_FACTOR} * max by"),
        ("flow_deployment:prefect_slo_budget_runs:allowed", "+ 1e-6, 1)"),
        ("PrefectBudgetSpent", "flow_deployment:prefect_slo_budget_runs:left < 0"),
        (
            "PrefectDeploymentPaused",
            "> max by (workspace, flow, deployment) (last_over_time(prefect_slo_max_pause_seconds",
        ),
    ],
)
def test_limit_is_that_of_the_alert(alert: str, expected: str) -> None:
    assert expected in expressions(alert)
