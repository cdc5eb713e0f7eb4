"""Wording of faults in options and files."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant."""
    return next(iter(difflib.get_close_matches(word, list(known), n=1)), None)


def dotted(path: Sequence[object]) -> str:
    """A path as people write it: pipelines[2].slo.window."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def reason_of(error: Mapping[str, Any]) -> str:
    """The message of one of pydantic's error details, without the given value."""
    return str(error["msg"]).removeprefix("Value error, ")
