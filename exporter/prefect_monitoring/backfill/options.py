"""The checked command line options of a backfill."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from prefect_monitoring.analysis.durations import parse_duration
from prefect_monitoring.backfill.families import OWN_LABELS
from prefect_monitoring.config.settings import SettingsError
from prefect_monitoring.model.units import DAY

_MIN_SINCE: Final = 6 * 3600.0
_MIN_STEP: Final = 60
_LABEL: Final = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")


@dataclass(frozen=True, slots=True)
class Options:
    """How far back (seconds), the output folder, the grid's step (seconds), and the labels of the live target."""

    since: float
    output: Path
    step: int
    target: Mapping[str, str]


def parse_options(since: str, output: Path, step: str, labels: Iterable[str], **target: str) -> Options:
    """The options of a backfill; `target`: labels with their own options. Raises SettingsError for all faults."""
    faults: list[str] = []
    back = _duration("since", since, faults)
    grid = _duration("step", step, faults)
    if back is not None and back < _MIN_SINCE:
        faults.append("--since: less than 6h; the last three hours are left to the live series")
    if grid is not None and (grid < _MIN_STEP or DAY % grid):
        faults.append(f"--step: {step} is no part of a day of at least 1m, such as 15m, 1h or 6h")
    named = {name: value for name, value in target.items() if value}
    for label in labels:
        name, sign, value = label.partition("=")
        if not sign or not value or not _LABEL.fullmatch(name):
            faults.append(f"--label: {label!r} is not NAME=VALUE with a name such as cluster")
        elif name in OWN_LABELS:
            faults.append(f"--label: {name} is a label of the metrics themselves")
        else:
            named[name] = value
    if faults or back is None or grid is None:
        raise SettingsError("\n".join(faults))
    return Options(back, output, int(grid), named)


def _duration(name: str, text: str, faults: list[str]) -> float | None:
    try:
        return float(parse_duration(text))
    except ValueError as fault:
        faults.append(f"--{name}: {fault}")
        return None
