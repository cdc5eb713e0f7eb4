"""Formats instants, durations, ratios and counts for people."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Final

_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86400
# A number and its unit stay on one line.
_SPACE: Final = "\u00a0"
_PARTS: Final = ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min"), (1, "s"))


def span(seconds: float) -> str:
    """A duration in its two largest units: `0.4 s`, `45 s`, `12 min 30 s`, `3 d 4 h`."""
    if seconds < 10:  # noqa: PLR2004 from there on, tenths are noise
        return f"{max(seconds, 0.0):.1f}".removesuffix(".0") + f"{_SPACE}s"
    left = round(seconds)
    first = next(number for number, (length, _) in enumerate(_PARTS) if left >= length)
    parts = []
    for length, unit in _PARTS[first : first + 2]:
        count, left = divmod(left, length)
        parts += [f"{count}{_SPACE}{unit}"] if count else []
    return " ".join(parts)


def age(seconds: float) -> str:
    """A duration in its largest unit, rounded down: `3 d`."""
    whole = max(seconds, 0.0)
    length, unit = next(((length, unit) for length, unit in _PARTS if whole >= length), (1, "s"))
    return f"{int(whole // length)}{_SPACE}{unit}"


def instant(at: float, now: float) -> str:
    """`07:43` on the same day (UTC), `21 Nov 07:43` on another, `21 Nov 2025` in another year."""
    then, today = datetime.fromtimestamp(at, UTC), datetime.fromtimestamp(now, UTC)
    if then.date() == today.date():
        return f"{then:%H:%M}"
    return f"{then.day} {then:%b %H:%M}" if then.year == today.year else f"{then.day} {then:%b %Y}"


def moment(at: float) -> str:
    """An instant with its date and seconds, for what must not be mistaken for now."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"


def percent(ratio: float) -> str:
    """Rounded down to a tenth: a ratio just below its objective must not look as if it met it."""
    return f"{math.floor(ratio * 1000 + 1e-6) / 10:g}{_SPACE}%"


def counted(number: int, singular: str, plural: str) -> str:
    return f"{number:,} {singular if number == 1 else plural}"
