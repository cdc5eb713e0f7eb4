"""What `check` says of each thing that it looks at."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """`advice`: it works, and may still not be what was meant."""

    ok: bool
    text: str
    advice: bool = False
