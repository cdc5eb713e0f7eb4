"""Helpers for users' flows: metrics, Slack messages and objectives. Imports Prefect only when it is used."""

from __future__ import annotations

from typing import Final

from prefect_monitoring.flows.archive import archive_logs
from prefect_monitoring.flows.cloudwatch import flush_cloudwatch, push_cloudwatch
from prefect_monitoring.flows.custom_metrics import emit_metric
from prefect_monitoring.flows.slack import notify_slack, slack_crashed, slack_failure, slack_success
from prefect_monitoring.flows.slo import record_rows, slo

__all__: Final = [
    "archive_logs",
    "emit_metric",
    "flush_cloudwatch",
    "notify_slack",
    "push_cloudwatch",
    "record_rows",
    "slack_crashed",
    "slack_failure",
    "slack_success",
    "slo",
]
