"""Shared by the commands that plan, apply and destroy: their options, the confirmation, their output."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

from prefect_monitoring.config.settings import Settings, SettingsError
from prefect_monitoring.policy.pipelines_file import PipelinesFile, parse_pipelines, read_pipelines

WOULD_CHANGE: Final = 2  # as `terraform plan -detailed-exitcode`


@dataclass(frozen=True, slots=True)
class Choices:
    """`step` is plan, apply, destroy or, where a command has it, export."""

    step: str
    yes: bool = False
    detailed_exitcode: bool = False


def installation_name(settings: Settings, place: str) -> str:
    """Raises SettingsError without one; `place` is where two installations may conflict."""
    if not settings.policy.installation:
        raise SettingsError(
            f"--installation: give this installation a name, such as prod; two installations in one {place} need two,"
            " because each destroys what has its name and is no longer declared"
        )
    return settings.policy.installation


def declared_file(settings: Settings, content: str) -> PipelinesFile:
    """The pipelines file. Raises SettingsError without one, and PipelinesError; `content`: what it should declare."""
    if not settings.policy.pipelines:
        raise SettingsError(f"--pipelines: name the file that declares {content} (docs/pipelines.md)")
    path = Path(settings.policy.pipelines)
    return parse_pipelines(read_pipelines(path), str(path), settings.labels.known_causes)


def confirm(choices: Choices) -> None:
    """Asks for confirmation unless `yes` is set. Raises SettingsError without it."""
    if choices.yes:
        return
    if not sys.stdin.isatty():
        raise SettingsError(f"nothing was changed: give --yes to {choices.step} without being asked")
    if input(f"{choices.step.capitalize()}? Type yes to continue: ").strip() != "yes":
        raise SettingsError("nothing was changed")


def print_lines(out: TextIO, lines: Iterable[str]) -> None:
    out.write("".join(f"{line}\n" for line in lines))
