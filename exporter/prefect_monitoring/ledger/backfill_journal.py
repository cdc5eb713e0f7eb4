"""The journal of a backfill, kept until `serve` starts: by how much each series moved, on a time grid.

It is written in the transaction that counts: an interrupted backfill continues where it stopped, and every counted run
is in the journal.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import sqlalchemy as sa

from prefect_monitoring.ledger import schema
from prefect_monitoring.ledger.series_rows import key_columns, series_key
from prefect_monitoring.ledger.sql import added, insert_all, load_all, number_from, upsert
from prefect_monitoring.model.changes import Moment, SeriesKey


@dataclass(frozen=True, slots=True)
class Plan:
    """Options of a backfill: how far back, and the grid's step, in seconds.

    `loaded`: everything that Prefect had at its start is counted.
    """

    since: float
    step: int
    loaded: bool = False


class Move(NamedTuple):
    """By how much a series moved in the step before `slot` (epoch seconds): an amount, in `seen` observations."""

    slot: int
    key: SeriesKey
    amount: float
    seen: int


class Recorder:
    """Records moments of these `metrics`; `ids` are the numbers of the series recorded so far."""

    def __init__(self, step: int, ids: Mapping[SeriesKey, int], metrics: Collection[str]) -> None:
        self.step = step
        self.metrics = metrics
        self.ids = dict(ids)

    def write(self, connection: sa.Connection, moments: Iterable[Moment]) -> dict[SeriesKey, int]:
        """Adds `moments` and returns the numbers of new series, for `ids` once the transaction is committed."""
        sums: defaultdict[tuple[int, SeriesKey], list[float]] = defaultdict(lambda: [0.0, 0])
        for moment in moments:
            if moment.key.metric in self.metrics:
                total = sums[slot_of(moment.at, self.step), moment.key]
                total[0] += moment.amount
                total[1] += 1
        created = _new_series(connection, {key for _, key in sums} - self.ids.keys())
        ids = self.ids | created
        rows = [
            {"slot": slot, "series_id": ids[key], "amount": amount, "seen": seen}
            for (slot, key), (amount, seen) in sums.items()
        ]
        upsert(connection, schema.backfill_moves, rows, amount=added, seen=added)
        return created


def slot_of(at: float, step: int) -> int:
    """The first instant of the grid at or after `at`."""
    return math.ceil(at / step) * step


def recorded_series(connection: sa.Connection) -> dict[SeriesKey, int]:
    return {series_key(row): row.id for row in load_all(connection, schema.backfill_series)}


def first_slots(connection: sa.Connection) -> dict[int, int]:
    """When each series moved first, by its number."""
    table = schema.backfill_moves
    found = connection.execute(sa.select(table.c.series_id, sa.func.min(table.c.slot)).group_by(table.c.series_id))
    return {row[0]: row[1] for row in found}


def counts(connection: sa.Connection) -> dict[int, int]:
    """How often each series moved, by its number."""
    table = schema.backfill_moves
    found = connection.execute(sa.select(table.c.series_id, sa.func.count()).group_by(table.c.series_id))
    return {row[0]: row[1] for row in found}


def moves(connection: sa.Connection, low: float, high: float, keys: Mapping[int, SeriesKey]) -> Iterator[Move]:
    """The recorded moves for the slots within [low, high), by slot."""
    table = schema.backfill_moves
    chosen = sa.select(table).where((table.c.slot >= low) & (table.c.slot < high)).order_by(table.c.slot)
    for row in connection.execute(chosen):
        yield Move(row.slot, keys[row.series_id], row.amount, row.seen)


def forget(connection: sa.Connection) -> None:
    for table in (schema.backfill_moves, schema.backfill_series):
        connection.execute(sa.delete(table))


def _new_series(connection: sa.Connection, keys: Iterable[SeriesKey]) -> dict[SeriesKey, int]:
    table = schema.backfill_series
    created = number_from(connection, table.c.id, sorted(keys))
    insert_all(connection, sa.insert(table), [{"id": number, **key_columns(key)} for key, number in created.items()])
    return created
