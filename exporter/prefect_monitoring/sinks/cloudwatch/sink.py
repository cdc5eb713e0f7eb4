"""Pushes each closed minute to CloudWatch, in order, and keeps in the ledger what is still to be pushed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_fixed, wait_random_exponential

from prefect_monitoring.flows.aws import cause, make_client
from prefect_monitoring.ingest.flow_runs import Reader
from prefect_monitoring.ledger.errors import LedgerError
from prefect_monitoring.ledger.outbox import Outbox, OwedMinute
from prefect_monitoring.ledger.sink_rows import read_sink, write_sink
from prefect_monitoring.model.sink_status import SinkError, SinkStatus
from prefect_monitoring.model.units import HOUR, MINUTE
from prefect_monitoring.sinks.aws_errors import reason_of
from prefect_monitoring.sinks.cloudwatch.push import Delivery, DeliveryError, delivery_of, send
from prefect_monitoring.sinks.cloudwatch.select import Selection, custom_kept, custom_to_keep
from prefect_monitoring.sinks.threads import in_daemon_thread
from prefect_monitoring.snapshot.model import Snapshot

log = logging.getLogger(__name__)

NAME: Final = "cloudwatch"
# Counts wait for as long as CloudWatch accepts them; gauges of a minute are dropped sooner.
GAUGES_KEPT: Final = 6 * HOUR
LONGEST_WAIT: Final = 60.0
LEDGER_WAIT: Final = 5.0
STOP_SECONDS: Final = 5.0
MAX_NOTES: Final = 100
_LAST_SUCCESS: Final = "state/last_success"
_CUSTOM: Final = "state/custom"


@dataclass(frozen=True, slots=True)
class Remembered:
    """What former processes left in the ledger."""

    last_success: float | None
    custom: list[list[str]]


class CloudWatchSink:
    """`take` gets each snapshot and only writes to the ledger; `run` pushes."""

    def __init__(
        self,
        reader: Reader,
        selection: Selection,
        installation: str,
        make: Callable[[], Any] = lambda: make_client(NAME),
    ) -> None:
        self.status = SinkStatus(NAME)
        self._reader = reader
        self._ledger = reader.ledger
        self._selection = selection
        self._installation = installation
        self._make = make
        self._client: Any = None
        self._outbox = Outbox(NAME, selection.changes)
        self._gauges_of = 0
        self._owes = asyncio.Event()
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        self._is_failing = False
        self._noted: set[str] = set()
        self._left_out = 0

    async def begin(self) -> None:
        """Restores what former processes left, and queues everything counted from now on. Raises LedgerError."""
        remembered = await self._reader.in_ledger(self._remembered)
        self._selection.custom.update(custom_kept(remembered.custom))
        self.status = replace(self.status, last_success=remembered.last_success)
        self._ledger.outbox = self._outbox

    async def take(self, snapshot: Snapshot) -> None:
        """Stores the gauges of the pipelines, once a minute. Raises LedgerError."""
        minute = int(snapshot.taken_at // MINUTE)
        if minute == self._gauges_of:
            return
        first, dropped = await self._reader.in_ledger(self._add_gauges, snapshot)
        self._gauges_of = minute
        self.status = replace(self.status, waiting_since=_closed_at(first))
        self._count_lost(SinkError.EXPIRED, dropped)
        self._owes.set()

    async def run(self) -> None:
        """Pushes what is queued, whenever `take` closes a minute. Ends by cancellation."""
        while True:
            await self._owes.wait()
            self._owes.clear()
            try:
                await self._push_closed_minutes()
            except LedgerError as fault:
                log.warning("CloudWatch waits for the ledger: %s", fault)
            except Exception:
                log.exception("Nothing is pushed to CloudWatch for now")
                self.status = self.status.failed(SinkError.INTERNAL)

    async def stop(self, task: asyncio.Task[None]) -> None:
        """Ends `run`. Waits up to `STOP_SECONDS` for a running request, so that its minute is not pushed twice."""
        idle = asyncio.create_task(self._is_idle.wait())
        await asyncio.wait([idle, task], timeout=STOP_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        idle.cancel()
        task.cancel()
        await asyncio.wait([task])

    # On the ledger's thread

    def _remembered(self) -> Remembered:
        with self._ledger.transaction() as connection:
            kept = read_sink(connection, NAME, "state/", "state/~")
        return Remembered(kept.get(_LAST_SUCCESS), kept.get(_CUSTOM, []))

    def _add_gauges(self, snapshot: Snapshot) -> tuple[int | None, int]:
        """The oldest minute that waits, and the number of minutes whose gauges were dropped."""
        now = snapshot.taken_at
        gauges, custom = self._selection.gauges(snapshot), custom_to_keep(self._selection.custom)
        self._report_left_out()
        with self._ledger.transaction() as connection:
            dropped = self._outbox.add_gauges(connection, gauges, now, GAUGES_KEPT)
            write_sink(connection, NAME, {_CUSTOM: custom}, now)
            return self._outbox.first_minute(connection, now), dropped

    def _report_left_out(self) -> None:
        """Logs the custom metrics that do not fit, when there are more of them than before."""
        left_out = sorted(self._selection.left_out)
        if len(left_out) > self._left_out:
            pipeline, name = left_out[-1]
            text = "cloudwatch_max_metrics has no room for %d custom metrics, such as %s of %s"
            log.warning(text, len(left_out), name, "/".join(filter(None, pipeline)))
        self._left_out = len(left_out)

    def _next_owed(self) -> OwedMinute | None:
        with self._ledger.transaction() as connection:
            first = self._outbox.first_minute(connection, self._reader.clock())
            return None if first is None else self._outbox.owed_of(connection, first)

    def _forget(self, owed: OwedMinute, now: float) -> int | None:
        """Returns the oldest minute that still waits."""
        with self._ledger.transaction() as connection:
            self._outbox.forget(connection, owed)
            write_sink(connection, NAME, {_LAST_SUCCESS: now}, now)
            return self._outbox.first_minute(connection, now)

    # Pushing

    async def _push_closed_minutes(self) -> None:
        while (owed := await self._reader.in_ledger(self._next_owed)) is not None:
            await self._push(owed)
            now = self._reader.clock()
            # Repeated until it succeeds: a ledger that fails now must not cause a second push of the minute.
            async for attempt in AsyncRetrying(
                retry=retry_if_exception_type(LedgerError), wait=wait_fixed(LEDGER_WAIT)
            ):
                with attempt:
                    first = await self._reader.in_ledger(self._forget, owed, now)
                    self.status = self.status.succeeded(now, _closed_at(first))
            self._is_idle.set()

    async def _push(self, owed: OwedMinute) -> None:
        delivery = await in_daemon_thread(NAME, self._delivery_of, owed)
        tries = AsyncRetrying(
            retry=retry_if_exception_type(DeliveryError),
            wait=wait_random_exponential(max=LONGEST_WAIT),
            before_sleep=self._note_failure,
        )
        async for attempt in tries:
            with attempt:
                self._is_idle.clear()
                await in_daemon_thread(NAME, self._send, delivery)
        for reason, count in delivery.lost.items():
            self._count_lost(reason, count)
        for note in delivery.notes.keys() - self._noted:
            log.warning("Not pushed to CloudWatch: %s", note)
            if len(self._noted) < MAX_NOTES:
                self._noted.add(note)
        if self._is_failing:
            self._is_failing = False
            log.info("CloudWatch accepts metrics again")

    def _count_lost(self, reason: SinkError, count: int) -> None:
        if count:
            self.status = self.status.failed(reason, count)

    def _delivery_of(self, owed: OwedMinute) -> Delivery:
        namespace = self._selection.settings.cloudwatch_namespace
        return delivery_of(owed.items, owed.start, namespace, self._installation)

    def _send(self, delivery: Delivery) -> None:
        """Makes a new client after each failure: credentials and settings may have changed."""
        if self._client is None:
            try:
                self._client = self._make()
            except Exception as error:  # noqa: BLE001 no region, a broken profile, …
                raise DeliveryError(reason_of(error), cause(error)) from None
        send(self._client, delivery, self._reader.clock())

    def _note_failure(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome is not None else None
        if isinstance(error, DeliveryError):
            self._is_idle.set()
            self._client = None
            self.status = self.status.failed(error.reason)
            level = logging.DEBUG if self._is_failing else logging.WARNING
            self._is_failing = True
            log.log(level, "CloudWatch does not accept metrics (%s): %s", error.reason, error)


def _closed_at(minute: int | None) -> float | None:
    return None if minute is None else float(minute + MINUTE)
