"""`prefect-monitoring healthcheck`."""

from __future__ import annotations

import argparse
import sys

from prefect_monitoring.cli.command import Command, add_options, load
from prefect_monitoring.config.settings import SettingsError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--ready", action="store_true", help="also ask whether its numbers are complete")
    add_options(parser)


def run(options: argparse.Namespace) -> int:
    """Returns 0 or 1: Docker accepts no other exit codes from a health check."""
    from prefect_monitoring.commands.healthcheck import ask

    try:
        is_healthy, answer = ask(load(options).web, ready=options.ready)
    except SettingsError as fault:
        is_healthy, answer = False, str(fault)
    sys.stdout.write(f"{answer}\n")
    return 0 if is_healthy else 1


COMMAND = Command("exit 0 if the exporter with the same settings is healthy, else 1", add_arguments, run)
