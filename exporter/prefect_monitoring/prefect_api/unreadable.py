"""Collects rows that cannot be read during a reading, so that they do not stop the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final
from uuid import UUID


@dataclass(frozen=True, slots=True)
class UnreadableRow:
    """The id of a row, and its fault. `after`: an instant before the row's, where its own is not known."""

    id: str
    reason: str
    after: float | None = None


# The prefix of ids of rows that the server cannot answer, followed by their place in the list.
UNLISTED: Final = "unlisted row "

Rows = dict[str, UnreadableRow]
_rows: Final[ContextVar[Rows | None]] = ContextVar("rows", default=None)


@contextmanager
def collected_in(rows: Rows) -> Iterator[None]:
    """Within it, and in tasks started there, every row that cannot be read is added to `rows`, by id."""
    token = _rows.set(rows)
    try:
        yield
    finally:
        _rows.reset(token)


def collected() -> Rows | None:
    """The current collection of unreadable rows; None outside `collected_in`, where they are errors."""
    return _rows.get()


def note(reasons: Mapping[str, str], after: Mapping[str, float] | None = None) -> None:
    """Adds rows that can be read but not counted: reasons, and instants `after` which they are, by id.

    Does nothing outside `collected_in`, where these faults were raised as errors.
    """
    noted = collected()
    if noted is not None:
        noted.update(
            {run_id: UnreadableRow(run_id, reason, (after or {}).get(run_id)) for run_id, reason in reasons.items()}
        )


def is_unlisted(identifier: str) -> bool:
    """Whether this is the placeholder id of a row that the server cannot answer."""
    return identifier.startswith(UNLISTED)


def is_nameless(identifier: str) -> bool:
    """Whether this is not an id that can be requested from the server."""
    try:
        UUID(identifier)
    except ValueError:
        return True
    return False


def some_are_nameless(rows: Rows | None = None) -> bool:
    """Whether there are rows with an unknown id, so that a record missing in a list may be one of them.

    Among `rows`, by default those of the present reading.
    """
    return any(map(is_nameless, (collected() or {}) if rows is None else rows))
