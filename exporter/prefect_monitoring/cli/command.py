"""Shared by all commands: help, options, and how they refuse."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from prefect_monitoring.cli.parser import FAULT
from prefect_monitoring.config.settings import (
    CONFIG_ENV,
    ENV_PREFIX,
    GROUPS,
    OPTIONS,
    Settings,
    SettingsError,
    default_of,
    flag_name,
    notation_of,
)
from prefect_monitoring.config.types import SWITCH


@dataclass(frozen=True, slots=True)
class Command:
    """`run` returns the exit code or raises SettingsError. It imports Prefect only when it runs."""

    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    usage: str = "[OPTIONS]"

    @property
    def description(self) -> str:
        return f"{self.help[0].upper()}{self.help[1:]}."


def add_options(parser: argparse.ArgumentParser) -> None:
    """Every option of the settings, by group."""
    parser.epilog = (
        f"Every option of these groups can also be given as a variable ({ENV_PREFIX}POLL_INTERVAL for --poll-interval)"
        " or in the file of --config (poll_interval). Secrets have no flag: give a file, or a variable."
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help=f"YAML file of options (default: what {CONFIG_ENV} names)"
    )
    for group in GROUPS.values():
        section = parser.add_argument_group(str(group.model_config.get("title")), group.__doc__)
        for option in group.model_fields:
            _add_option(section, option)


def _add_option(section: argparse._ArgumentGroup, option: str) -> None:
    notation, default = notation_of(option), default_of(option)
    text = f"{OPTIONS[option].description}{f' (default: {default})' if default else ''}".replace("%", "%%")
    flag, metavar = flag_name(option), notation.metavar
    if notation is SWITCH:  # on by its flag alone
        section.add_argument(flag, dest=option, nargs="?", const="true", metavar=metavar.strip("[]"), help=text)
    elif notation.has_flag:
        section.add_argument(flag, dest=option, metavar=metavar, help=text)
    else:  # accepted here, so that it can be refused with advice
        section.add_argument(flag, dest=option, nargs="?", const="", help=argparse.SUPPRESS)


def load(options: argparse.Namespace) -> Settings:
    """The settings of a parsed command line. Raises SettingsError."""
    from prefect_monitoring.config.loading import load_settings

    given = {option: getattr(options, option) for option in OPTIONS}
    flags = {option: value for option, value in given.items() if value is not None}
    from_environment = os.environ.get(CONFIG_ENV)
    return load_settings(flags, os.environ, options.config or (Path(from_environment) if from_environment else None))


def load_with_prefect(options: argparse.Namespace) -> Settings:
    """The settings, checked together with Prefect's own. Raises SettingsError with every fault of both."""
    from prefect_monitoring.prefect_api.startup import prefect_faults

    try:
        settings = load(options)
    except SettingsError as fault:
        raise SettingsError("\n".join([str(fault), *prefect_faults()])) from None
    if faults := prefect_faults():
        raise SettingsError("\n".join(faults))
    return settings


def refuse(message: str) -> int:
    sys.stderr.write("".join(f"prefect-monitoring: {line}\n" for line in message.splitlines()))
    return FAULT
