"""What a sink has to deliver for each change, by minute, kept until it is delivered.

It is written in the transaction that counts the change, so that after a crash both are there or neither is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

import sqlalchemy as sa

from prefect_monitoring.ledger.sink_rows import first_key, forget_between, forget_sink, read_sink, write_sink
from prefect_monitoring.model.changes import Changes
from prefect_monitoring.model.units import MINUTE

_CHANGES: Final = "changes/"
_GAUGES: Final = "gauges/"
_END: Final = "~"  # after every digit and "/"


@dataclass(frozen=True, slots=True)
class OwedMinute:
    """What has to be delivered for the minute that begins at `start`: the items, and the keys of their rows."""

    start: int
    items: list[Any]
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outbox:
    """`select` gives what `sink` has to deliver for a change, as a JSON list; it is not called for a baseline."""

    sink: str
    select: Callable[[Changes], list[Any]]

    def add_changes(self, connection: sa.Connection, changes: Changes, now: float) -> None:
        """Adds what the sink has to deliver for `changes` to the minute of `now`."""
        if owed := self.select(changes):
            write_sink(connection, self.sink, {f"{_CHANGES}{_minute(now)}/{uuid4().hex}": owed}, now)

    def add_gauges(self, connection: sa.Connection, gauges: list[Any], now: float, kept: float) -> int:
        """Adds `gauges` to the minute of `now`, and drops those older than `kept` seconds; returns how many."""
        write_sink(connection, self.sink, {f"{_GAUGES}{_minute(now)}": gauges}, now)
        return forget_between(connection, self.sink, _GAUGES, f"{_GAUGES}{_minute(now - kept)}")

    def first_minute(self, connection: sa.Connection, now: float) -> int | None:
        """The start of the oldest minute that is over at `now` and has something to deliver."""
        keys = (first_key(connection, self.sink, kind, f"{kind}{_minute(now)}") for kind in (_CHANGES, _GAUGES))
        return min((int(key.split("/")[1]) for key in keys if key is not None), default=None)

    def owed_of(self, connection: sa.Connection, minute: int) -> OwedMinute:
        """Everything to deliver for a minute."""
        rows: dict[str, list[Any]] = {}
        for kind in (_CHANGES, _GAUGES):
            low = f"{kind}{_minute(minute)}"
            rows |= read_sink(connection, self.sink, low, low + _END)
        return OwedMinute(minute, [item for items in rows.values() for item in items], tuple(rows))

    def forget(self, connection: sa.Connection, owed: OwedMinute) -> None:
        """Deletes what is delivered."""
        forget_sink(connection, self.sink, owed.keys)


def _minute(at: float) -> str:
    """The start of the minute of `at`, as text that sorts by time."""
    return f"{int(at // MINUTE) * MINUTE:012d}"
