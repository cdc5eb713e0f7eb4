"""Progress in the output folder, so that an interrupted backfill continues where it stopped."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from prefect_monitoring.backfill.openmetrics import Size

FILE: Final = "backfill.json"


class OutputError(Exception):
    """The output folder cannot be used; the message says what to do."""


@dataclass(slots=True)
class Output:
    """The output folder: its history, and what was written for each day (its first instant).

    `end`, the last slot, is 0 until the first day is written.
    """

    folder: Path
    step: int
    target: Mapping[str, str]
    end: int = 0
    written: dict[int, Size] = field(default_factory=dict)

    @property
    def blocks(self) -> Path:
        return self.folder / "blocks"

    @property
    def texts(self) -> Path:
        return self.folder / "openmetrics"

    def text(self, day: int) -> Path:
        """The file of a day, given as its first instant."""
        return self.texts / f"{datetime.fromtimestamp(day, UTC):%Y-%m-%d}.om"

    def save(self) -> None:
        plain = asdict(self) | {
            "folder": None,
            "written": {str(day): tuple(size) for day, size in self.written.items()},
        }
        partial = self.folder / f"{FILE}.partial"
        partial.write_text(json.dumps(plain, indent=1), encoding="utf-8")
        partial.replace(self.folder / FILE)


def open_output(folder: Path, step: int, target: Mapping[str, str]) -> Output:
    """Opens a new or empty folder, or one of a backfill with the same step and target labels. Raises OutputError."""
    file = folder / FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            if any(folder.iterdir()):
                raise OutputError(f"{folder} is not empty: choose an empty folder with --output")
            output = Output(folder, step, target)
            output.texts.mkdir()
            output.save()
            return output
        state = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror}: give another folder with --output") from error
    written = {int(day): Size(*size) for day, size in state["written"].items()}
    begun = Output(folder, state["step"], state["target"], state["end"], written)
    if (begun.step, dict(begun.target)) != (step, dict(target)):
        raise OutputError(
            f"{folder} was begun with a step of {begun.step} s and the labels {dict(begun.target)}, not with {step} s"
            f" and {dict(target)}: repeat those, or give another folder with --output"
        )
    return begun
