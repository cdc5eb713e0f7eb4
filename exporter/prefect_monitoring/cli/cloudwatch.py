"""`prefect-monitoring cloudwatch`."""

from __future__ import annotations

import argparse

from prefect_monitoring.cli import plan
from prefect_monitoring.cli.command import Command


def run(options: argparse.Namespace) -> int:
    return plan.run(options, _find)


def _find() -> tuple[plan.Step, tuple[type[Exception], ...]]:
    from prefect_monitoring.commands.cloudwatch import cloudwatch
    from prefect_monitoring.sinks.cloudwatch.native.account import AccountError

    return cloudwatch, (AccountError,)


COMMAND = Command(
    "manage CloudWatch alarms and a dashboard from the pipelines file",
    plan.add_arguments,
    run,
    usage="plan|apply|destroy [OPTIONS]",
)
