"""`prefect-monitoring automations`."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys

from prefect_monitoring.cli.command import Command, add_options, load_with_prefect, refuse
from prefect_monitoring.config.settings import SettingsError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The step, its switches, and every option."""
    parser.add_argument(
        "step",
        choices=("plan", "apply", "destroy", "export"),
        help="plan: show what would change; apply: change it; destroy: delete all that this installation made; export:"
        " print YAML for `prefect automation create --from-file`",
    )
    parser.add_argument("--yes", action="store_true", help="apply or destroy without asking")
    parser.add_argument(
        "--detailed-exitcode",
        action="store_true",
        help="plan ends with 0 when nothing would change, 2 when something would, 1 after a fault",
    )
    add_options(parser)


def run(options: argparse.Namespace) -> int:
    settings = load_with_prefect(options)
    from prefect_monitoring.commands.automations import automations
    from prefect_monitoring.commands.plans import Choices
    from prefect_monitoring.policy.pipelines_file import PipelinesError
    from prefect_monitoring.prefect_api.credentials import credentials_from_files
    from prefect_monitoring.prefect_api.errors import ApiError, NoApiUrlError

    choices = Choices(options.step, yes=options.yes, detailed_exitcode=options.detailed_exitcode)
    try:
        with credentials_from_files(os.environ):
            return asyncio.run(automations(settings, choices, sys.stdout))
    except (SettingsError, PipelinesError, NoApiUrlError, ApiError) as fault:
        code = refuse(str(fault))
    return 1 if choices.detailed_exitcode else code


COMMAND = Command(
    "make the pipelines file's automations in Prefect, and keep them so",
    add_arguments,
    run,
    usage="plan|apply|destroy|export [OPTIONS]",
)
