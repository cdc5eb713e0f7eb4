"""Progress bars on standard error, one for each source that is loaded, with its rate and remaining time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from prefect_monitoring.ingest.sources import COUNTED_SOURCES, SOURCES
from prefect_monitoring.model.units import DAY

# Sources that the API can count need no unit; for others, progress is in days.
_COMPARED: Final = {entry.compares for entry in SOURCES}
_UNITS: Final = {cursor: ("days", DAY) for cursor, entry in COUNTED_SOURCES.items() if entry.name not in _COMPARED}


class _Amount(ProgressColumn):
    def render(self, task: Task) -> Text:
        unit = task.fields["unit"]
        total = f" of {task.total:,.0f}" if task.total is not None else ""
        rate = f", {task.speed:,.0f}/s" if task.speed and not unit else ""
        return Text(f"{task.completed:,.0f}{total}{' ' + unit if unit else ''}{rate}")


class Bars:
    """Shows a progress bar for each step, from its first report on."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bars: dict[str, TaskID] = {}

    def __call__(self, source: str, done: float, total: float | None) -> None:
        unit, size = _UNITS.get(source, ("", 1))
        if source not in self._bars:
            self._bars[source] = self._progress.add_task(source.replace("_", " "), total=None, unit=unit)
        at_least = max(total, done) if total is not None else None  # there may be more than the API had counted
        self._progress.update(
            self._bars[source], completed=done / size, total=at_least / size if at_least is not None else None
        )


@contextmanager
def bars() -> Iterator[Bars]:
    columns = (TextColumn("{task.description:>10}"), BarColumn(), _Amount(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield Bars(progress)
