"""Exports the history of a ledger: a file and blocks for each day, checked against the ledger."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

from prefect_monitoring.backfill.families import exposed, families_of, first_slots
from prefect_monitoring.backfill.openmetrics import History, Total, Totals, add_up, write_day
from prefect_monitoring.backfill.output_folder import Output
from prefect_monitoring.backfill.tsdb_blocks import (
    Block,
    BlocksError,
    are_whole,
    blocks_of_day,
    check_last_values,
    make_blocks,
    remove_blocks,
)
from prefect_monitoring.config.settings import MetricSettings
from prefect_monitoring.ledger import backfill_journal as ledger_history
from prefect_monitoring.ledger.backfill_journal import Move
from prefect_monitoring.ledger.ledger import Ledger
from prefect_monitoring.model.changes import SeriesKey
from prefect_monitoring.model.units import DAY


class Past:
    """A ledger's recorded history, and its output. Works on the ledger's thread; raises LedgerError, BlocksError."""

    def __init__(self, ledger: Ledger, settings: MetricSettings, output: Output) -> None:
        with ledger.transaction() as connection:
            numbers = ledger_history.recorded_series(connection)
            firsts = ledger_history.first_slots(connection)
            counts = ledger_history.counts(connection)
        metrics = ledger.recorded
        recorded = [key for key in ledger.series if key.metric in metrics]
        first_moves = {key: firsts[number] for key, number in numbers.items()}
        begun = first_slots(recorded, first_moves, output.step)
        self.history = History(
            families=exposed(families_of(ledger.metrics.values()), settings.metrics_off),
            first_slots=begun,
            step=output.step,
            end=output.end,
            target=output.target,
            created_at=ledger.created_at,
            moves={key: counts[number] for key, number in numbers.items()},
            unmoved=frozenset(recorded) - begun.keys(),
        )
        self._keys: dict[int, SeriesKey] = {number: key for key, number in numbers.items()}
        self._ledger = ledger
        self._output = output
        self._totals: Totals = {}

    def write_day(self, day: int) -> None:
        """Writes a day, unless it is written, and advances the totals; days must come in order."""
        moves = list(self._moves(day, min(day + DAY, self.history.end + 1)))
        if day not in self._output.written:
            size = write_day(self._output.text(day), self.history, day, self._totals, moves)
            self._output.written[day] = size
            self._output.save()
        add_up(self._totals, moves)

    def join(self) -> None:
        """Once every day is written: checks that the total of all moves is what the ledger counted, and aligns both.

        The last digits of a sum depend on the order of its parts, so the ledger takes over the sums of the history: if
        they were slightly lower, Prometheus would see a counter reset and count everything again.
        """
        totals = dict(self._totals)
        add_up(totals, self._moves(self.history.end + 1, math.inf))
        sums: dict[SeriesKey, float] = {}
        recorded = self._ledger.recorded
        for key, series in self._ledger.series.items():
            if key.metric in recorded:
                amount, seen = totals.get(key, Total())
                sums[key] = amount
                counted = sum(series.buckets) if series.buckets else seen
                if seen != counted or not math.isclose(amount, series.value, rel_tol=1e-9, abs_tol=1e-6):
                    raise BlocksError(
                        f"The past of {key} comes to {amount:g}, but the ledger counts {series.value:g}: do not use"
                        " what was written; report it, please"
                    )
        self._ledger.replace_values(sums, time.time())

    def make_blocks(self, promtool: str, day: int) -> list[Block]:
        """Makes the blocks of a day, unless they are complete, and checks them against what was written."""
        output, written = self._output, self._output.written[day]
        blocks = blocks_of_day(output.blocks, day)
        if not are_whole(blocks, day, written):
            remove_blocks(blocks)  # of an interrupted run
            make_blocks(promtool, output.text(day), output.blocks)
            blocks = blocks_of_day(output.blocks, day)
        if not are_whole(blocks, day, written):
            raise BlocksError(
                f"The blocks that promtool made of {output.text(day)} do not hold its {written.samples} samples of"
                f" {written.series} series: do not use {output.blocks}; report it, please"
            )
        return blocks

    def check_last_values(self, promtool: str) -> None:
        check_last_values(promtool, self._output.blocks, self.history, self._totals)

    def _moves(self, low: float, high: float) -> Iterator[Move]:
        with self._ledger.transaction() as connection:
            yield from ledger_history.moves(connection, low, high, self._keys)
