"""`prefect-monitoring automations`."""

from __future__ import annotations

import argparse
from typing import Final

from prefect_monitoring.cli import plan
from prefect_monitoring.cli.command import Command

_STEPS: Final = {**plan.STEPS, "export": "print YAML for `prefect automation create --from-file`"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    plan.add_arguments(parser, _STEPS)


def run(options: argparse.Namespace) -> int:
    return plan.run(options, _find)


def _find() -> tuple[plan.Step, tuple[type[Exception], ...]]:
    from prefect_monitoring.commands.automations import automations

    return automations, ()


COMMAND = Command(
    "manage automations in Prefect from the pipelines file",
    add_arguments,
    run,
    usage="plan|apply|destroy|export [OPTIONS]",
)
