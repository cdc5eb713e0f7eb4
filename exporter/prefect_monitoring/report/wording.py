"""How the report writes numbers, names and instants."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from math import isfinite
from typing import Final
from zoneinfo import ZoneInfo

from prefect_monitoring.model.records import Pipeline
from prefect_monitoring.report.document import Cell

UNKNOWN: Final = "\N{EN DASH}"
MINUS: Final = "\N{MINUS SIGN}"


def name_of(pipeline: Pipeline) -> str:
    """flow/deployment, or only the flow without a deployment."""
    return f"{pipeline.flow}/{pipeline.deployment}" if pipeline.deployment else pipeline.flow or "(no flow)"


def percent(ratio: float | None) -> str:
    """Never rounded up to 100 %: 99.96 % is not all."""
    if ratio is None:
        return UNKNOWN
    text = f"{ratio * 100:.1f}"
    return f"{'99.9' if text == '100.0' and ratio < 1 else text.removesuffix('.0')} %"


def number(value: float) -> str:
    """`1,234`, `0.0123`, `1.23e+07`."""
    if not isfinite(value):
        return str(value)
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) < 1e12 else f"{value:,.4g}"  # noqa: PLR2004


def count(value: int, one: str, many: str = "") -> str:
    """`1 run`, `2 runs`."""
    return f"{value:,} {one if value == 1 else many or f'{one}s'}"


def change(before: float, now: float) -> str:
    """The change as a share of the former value: `+25 %`; UNKNOWN if that was 0."""
    if not before:
        return UNKNOWN
    moved = (now - before) / abs(before)
    return f"{'+' if moved >= 0 else MINUS}{abs(moved):.0%}".replace("%", " %")


def points(before: float | None, now: float | None) -> Cell:
    """The change of a ratio in percentage points, in the tone of the change."""
    if before is None or now is None:
        return Cell(UNKNOWN, "dim")
    moved = round((now - before) * 100, 1)
    if not moved:
        return Cell("0", "dim")
    return Cell(f"{'+' if moved > 0 else MINUS}{abs(moved):g}", "good" if moved > 0 else "bad")


def instant(at: float, zone: ZoneInfo) -> str:
    return f"{datetime.fromtimestamp(at, zone):%a %d %b %Y %H:%M}"


def date(at: float, zone: ZoneInfo) -> str:
    return f"{datetime.fromtimestamp(at, zone):%a %d %b %Y}"


def day(at: float, zone: ZoneInfo) -> str:
    return f"{datetime.fromtimestamp(at, zone):%a %d %b}"


def listed(items: Iterable[str], most: int = 3) -> str:
    """The first few, and how many more there are."""
    names = list(items)
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")
