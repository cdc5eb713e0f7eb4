"""Shared by the commands that plan, apply and destroy: their arguments and exit codes."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, TextIO

from prefect_monitoring.cli.command import add_options, load_with_prefect, refuse
from prefect_monitoring.config.settings import Settings, SettingsError

if TYPE_CHECKING:
    from prefect_monitoring.commands.plans import Choices

Step = Callable[[Settings, "Choices", TextIO], Coroutine[Any, Any, int]]

STEPS: Mapping[str, str] = {
    "plan": "show what would change",
    "apply": "change it",
    "destroy": "delete everything that this installation made",
}


def add_arguments(parser: argparse.ArgumentParser, steps: Mapping[str, str] = STEPS) -> None:
    """The step, its switches, and every option."""
    parser.add_argument("step", choices=tuple(steps), help="; ".join(f"{step}: {text}" for step, text in steps.items()))
    parser.add_argument("--yes", action="store_true", help="apply or destroy without asking")
    parser.add_argument(
        "--detailed-exitcode",
        action="store_true",
        help="plan ends with 0 when nothing would change, 2 when something would, 1 after a fault",
    )
    add_options(parser)


def run(options: argparse.Namespace, find: Callable[[], tuple[Step, tuple[type[Exception], ...]]]) -> int:
    """The exit code. `find` imports the command and its own exceptions, once Prefect can be imported."""
    try:
        return _run(options, find)
    except SettingsError as fault:
        code = refuse(str(fault))
    return 1 if options.detailed_exitcode else code


def _run(options: argparse.Namespace, find: Callable[[], tuple[Step, tuple[type[Exception], ...]]]) -> int:
    """Raises SettingsError for every fault of settings, files, Prefect or another service."""
    settings = load_with_prefect(options)
    from prefect_monitoring.commands.plans import Choices
    from prefect_monitoring.policy.pipelines_file import PipelinesError
    from prefect_monitoring.prefect_api.credentials import credentials_from_files
    from prefect_monitoring.prefect_api.errors import ApiError, NoApiUrlError

    step, own_faults = find()
    faults: tuple[type[Exception], ...] = (PipelinesError, NoApiUrlError, ApiError, *own_faults)
    choices = Choices(options.step, yes=options.yes, detailed_exitcode=options.detailed_exitcode)
    try:
        with credentials_from_files(os.environ):
            return asyncio.run(step(settings, choices, sys.stdout))
    except faults as fault:
        raise SettingsError(str(fault)) from None
