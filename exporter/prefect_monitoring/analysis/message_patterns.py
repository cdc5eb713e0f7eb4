"""Failure messages without secrets: their first line, exception type, and pattern."""

from __future__ import annotations

import re
from typing import Final

from prefect_monitoring.analysis.redaction import first_line

MAX_PATTERN: Final = 160
MAX_MESSAGE: Final = 200
VARIABLE: Final = "#"
_TYPE: Final = re.compile(r"[A-Za-z_]\w{0,99}(?:\.[A-Za-z_]\w{0,99}){0,9}(?=:|\Z)")
# Prefect's prefix of every exception.
_PREAMBLE: Final = re.compile(r"\A(?:Flow|Task) run encountered an exception:?\s+")
# Instants, UUIDs, hexadecimal ids with a digit in them, and numbers; a status code of HTTP says what went wrong.
_VARIABLES: Final = re.compile(
    r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?)?"
    r"|\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"
    r"|\b0x[0-9a-f]+\b"
    r"|\b(?=[a-f]*\d)[0-9a-f]{8,64}\b"
    r"|(?<![\w.])(?![45]\d\d(?![\w.:]))-?\d+(?:[.,:]\d+)*",
    re.IGNORECASE,
)


def without_preamble(message: str) -> str:
    """An exception's message without Prefect's prefix."""
    return _PREAMBLE.sub("", message)


def message_line(message: str) -> str:
    """The first line of a failure message, redacted; "" for an empty message."""
    return first_line(without_preamble(message), MAX_MESSAGE)


def exception_type(line: str) -> str:
    """The exception's type in a line of `message_line`, such as ValueError; "" where it does not begin with one."""
    found = _TYPE.match(line)
    return found[0] if found else ""


def pattern_of(message: str) -> str:
    """The first line of a failure message with `#` for parts that differ between runs; "" for an empty message."""
    return _VARIABLES.sub(VARIABLE, first_line(without_preamble(message), MAX_PATTERN))
