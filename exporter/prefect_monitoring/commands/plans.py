"""What the commands have in common that plan, apply and destroy: their options, the question, their output."""

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
    """Raises SettingsError without one; `place` is where two installations may meet."""
    if not settings.policy.installation:
        raise SettingsError(
            f"--installation: give this installation a name, such as prod; two installations in one {place} need two,"
            " because each destroys what bears its name and is declared no more"
        )
    return settings.policy.installation


def declared_file(settings: Settings, what: str) -> PipelinesFile:
    """The pipelines file. Raises SettingsError without one, and PipelinesError; `what` it should declare."""
    if not settings.policy.pipelines:
        raise SettingsError(f"--pipelines: name the file that declares {what} (docs/pipelines.md)")
    path = Path(settings.policy.pipelines)
    return parse_pipelines(read_pipelines(path), str(path), settings.labels.known_causes)


def confirm(choices: Choices) -> None:
    """Raises SettingsError unless somebody agrees."""
    if choices.yes:
        return
    if not sys.stdin.isatty():
        raise SettingsError(f"nothing was changed: give --yes to {choices.step} without being asked")
    if input(f"{choices.step.capitalize()}? Only yes is taken for an answer: ").strip() != "yes":
        raise SettingsError("nothing was changed")


def print_lines(out: TextIO, lines: Iterable[str]) -> None:
    out.write("".join(f"{line}\n" for line in lines))
