"""The results of `check`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """`advice`: valid, but perhaps not what was meant."""

    ok: bool
    text: str
    advice: bool = False
