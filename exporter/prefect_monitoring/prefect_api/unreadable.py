"""Rows that cannot be read are noted for the reading under way: one of them does not stop the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final
from uuid import UUID


@dataclass(frozen=True, slots=True)
class UnreadableRow:
    """The id of a row, and what is wrong with it. `after`: an instant that it lies after, where only that is known."""

    id: str
    reason: str
    after: float | None = None


# How the id of a row begins that the server cannot answer: what is known of it is its place in a list.
UNLISTED: Final = "unlisted row "

Rows = dict[str, UnreadableRow]
_rows: Final[ContextVar[Rows | None]] = ContextVar("rows", default=None)


@contextmanager
def collected_in(rows: Rows) -> Iterator[None]:
    """Within it, and in the tasks that it starts, every row that cannot be read is put into `rows`, by its id."""
    token = _rows.set(rows)
    try:
        yield
    finally:
        _rows.reset(token)


def collected() -> Rows | None:
    """Where unreadable rows are put; None where nobody sets them aside: there they are errors."""
    return _rows.get()


def note(reasons: Mapping[str, str], after: Mapping[str, float] | None = None) -> None:
    """Sets rows aside that can be read, but not be counted: why, and after which instant, by id.

    Does nothing where nobody sets rows aside: what `reasons` says is an error there, and was raised.
    """
    noted = collected()
    if noted is not None:
        noted.update({one: UnreadableRow(one, reason, (after or {}).get(one)) for one, reason in reasons.items()})


def is_unlisted(identifier: str) -> bool:
    """Whether this stands for the id of a row that the server cannot answer."""
    return identifier.startswith(UNLISTED)


def is_nameless(identifier: str) -> bool:
    """Whether this is no id that the server can be asked for."""
    try:
        UUID(identifier)
    except ValueError:
        return True
    return False


def some_are_nameless(rows: Rows | None = None) -> bool:
    """Whether there are rows whose id nobody knows: what is missing in a list may be one of them.

    Among `rows`; without these, among what the reading under way met.
    """
    return any(map(is_nameless, (collected() or {}) if rows is None else rows))
