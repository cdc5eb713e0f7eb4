r"""Custom metrics, read from what flows log: `METRIC: rows_loaded{table="orders"}=42 rows_rejected=3`.

Time is linear in the length of a message, whatever it says: no quantifier is nested in another, the unbounded ones are
possessive, and a search for a closing brace never begins before the place where the last one ended.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from prefect_monitoring.model.metric_lines import Reason

MAX_LABELS: Final = 5
MAX_LABEL_VALUE: Final = 200
RESERVED_LABELS: Final = frozenset(
    {"flow", "deployment", "task", "metric", "workspace", "job", "instance", "le", "quantile"}
)
RESERVED_PREFIXES: Final = ("__", "exported_")


Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Observation:
    """One `name{labels}=value`. `labels` are sorted by name, without empty ones; `value` is finite."""

    name: str
    labels: Labels
    value: float


@dataclass(frozen=True, slots=True)
class Parsed:
    """The observations of a message, in order; `rejected` has one reason per refused piece."""

    observations: tuple[Observation, ...]
    rejected: tuple[Reason, ...]


MARK: Final = "METRIC:"
# As a separate word: a traceback that quotes `logger.info("METRIC: …")` reports no metric.
_MARK_AS_WORD: Final = re.compile(rf"(?<!\S){MARK}")
# Not str.splitlines(): it would cut a label value at a form feed or at a Unicode line separator.
_LINE_END: Final = re.compile(r"[\r\n]")
_SPACE: Final = re.compile(r"\s*+")
_SEPARATORS: Final = re.compile(r"[\s,;]*+")
_WORD: Final = re.compile(r"[^\s,;={]*+")
_VALUE: Final = re.compile(r"[^\s,;]*+")
_REST: Final = re.compile(r"[^\s,;{]*+")
_PAIR_AHEAD: Final = re.compile(r"[^\W\d][^\s,;={]*+\s*+[={]")
_QUOTE_OR_BRACE: Final = re.compile(r'"(?:[^"\\]|\\.)*+("?)|[{}]')
_LABEL: Final = re.compile(r'([^\s,="{}]++)\s*+=\s*+"((?:[^"\\]|\\[\\"n])*+)"\s*+(?:,|\Z)\s*+')
_ESCAPE: Final = re.compile(r'\\[\\"n]')
_ESCAPED: Final = {r"\\": "\\", r"\"": '"', r"\n": "\n"}
_NAME: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]{0,99}")
# Lone surrogates cannot be encoded as UTF-8, and PostgreSQL cannot store NUL: either would stop more than this metric.
_UNFIT: Final = re.compile(r"[\x00\ud800-\udfff]")


def parse(message: str) -> Parsed:
    """The pairs after a `METRIC:` at the beginning of a line of `message` or after white space. Never raises."""
    marks = ((line, _MARK_AS_WORD.search(line)) for line in _LINE_END.split(message))
    pieces = [piece for line, mark in marks if mark for piece in _pieces(line, mark.end())]
    return Parsed(
        tuple(piece for piece in pieces if isinstance(piece, Observation)),
        tuple(piece for piece in pieces if isinstance(piece, Reason)),
    )


def _pieces(line: str, start: int) -> Iterator[Observation | Reason]:
    at = _skip(_SEPARATORS, line, start)
    if at == len(line):
        yield Reason.MALFORMED
    while at < len(line):
        piece, end = _piece(line, at)
        yield piece
        at = _skip(_SEPARATORS, line, end)


def _skip(pattern: re.Pattern[str], line: str, at: int) -> int:
    found = pattern.match(line, at)
    return found.end() if found else at


def _piece(line: str, start: int) -> tuple[Observation | Reason, int]:
    """The piece at `start`, which is not a separator, and where it ends, always after `start`."""
    end = _skip(_WORD, line, start)
    name, block = line[start:end], ""
    at = _skip(_SPACE, line, end)
    if line.startswith("{", at):
        closed, end = _block(line, at)
        if closed is None:
            return Reason.MALFORMED, end
        block, at = closed, _skip(_SPACE, line, end)
    if not line.startswith("=", at):
        return Reason.MALFORMED, _skip(_REST, line, end)
    text, end = _value(line, at + 1)
    return _observation(name, block, text), end


def _block(line: str, opening: int) -> tuple[str | None, int]:
    """The text between the brace at `opening` and its closing brace, None without one; and where to continue.

    After a quote that is never closed, the rest of the line is skipped, because it may be part of the quoted text.
    If only the brace is missing, parsing continues after the last quoted value.
    """
    resume = opening + 1
    for token in _QUOTE_OR_BRACE.finditer(line, resume):
        if token[0] == "}":
            return line[opening + 1 : token.start()], token.end()
        if token[0] == "{":
            break
        if not token[1]:
            return None, len(line)
        resume = token.end()
    return None, _skip(_REST, line, resume)


def _value(line: str, start: int) -> tuple[str, int]:
    """The text of a value and where it ends. In `a= b=1` the value of a is empty, and b=1 is the next piece."""
    at = _skip(_SPACE, line, start)
    if at > start and _PAIR_AHEAD.match(line, at):
        return "", at
    end = _skip(_VALUE, line, at)
    return line[at:end], end


def _observation(name: str, block: str, text: str) -> Observation | Reason:
    if not _NAME.fullmatch(name):
        return Reason.NAME
    labels = _labels(block)
    if isinstance(labels, Reason):
        return labels
    value = _number(text)
    return value if isinstance(value, Reason) else Observation(name, labels, value)


def _labels(block: str) -> Labels | Reason:
    block, at = block.strip(), 0
    written: list[tuple[str, str]] = []
    while at < len(block):
        found = _LABEL.match(block, at)
        if not found:
            return Reason.MALFORMED
        written.append((found[1], _ESCAPE.sub(lambda escape: _ESCAPED[escape[0]], found[2])))
        at = found.end()
    # For Prometheus, an empty label is an absent one.
    labels = [label for label in written if label[1]]
    unique = len({name for name, _ in written}) == len(written)
    fits = unique and len(labels) <= MAX_LABELS and all(_is_label(*label) for label in written)
    return tuple(sorted(labels)) if fits else Reason.LABEL


def _is_label(name: str, value: str) -> bool:
    free = name not in RESERVED_LABELS and not name.startswith(RESERVED_PREFIXES)
    return free and fits_name(name) and fits_label(value)


def fits_name(name: str) -> bool:
    """Whether a text can be the name of a custom metric."""
    return bool(_NAME.fullmatch(name))


def fits_label(value: str) -> bool:
    """Whether a text can be the value of a label."""
    return len(value) <= MAX_LABEL_VALUE and not _UNFIT.search(value)


def _number(text: str) -> float | Reason:
    if not text.isascii():
        return Reason.MALFORMED
    try:
        value = float(text.rstrip("."))  # a full stop may end the sentence
    except ValueError:
        return Reason.MALFORMED
    return value if math.isfinite(value) else Reason.NON_FINITE


FAILURE_PHRASE: Final = "Task run failed with"
_SAVED: Final = re.compile(rf"{FAILURE_PHRASE} \w+: (?P<failure>.*) - Retry \d+/\d+ will start", re.DOTALL)


def saved_failure(message: str) -> str | None:
    """The failure of an attempt that is to be retried, from Prefect's log line; None for any other line."""
    found = _SAVED.match(message)
    return found["failure"] if found else None
