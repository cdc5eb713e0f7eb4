"""How good or bad something is; the values are the classes of style.css."""

from __future__ import annotations

from enum import StrEnum


class Tone(StrEnum):
    BAD = "bad"
    WARN = "warn"
    BUSY = "busy"
    OK = "ok"
    IDLE = "idle"
