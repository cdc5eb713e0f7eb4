"""Loads the history in Prefect with the readers of `serve`, one after the other, as far back as it goes."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, Protocol

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt

from prefect_monitoring.ingest.flow_runs import Reader
from prefect_monitoring.ingest.reconcile import Reconciliation
from prefect_monitoring.ingest.source import Reading, Scope
from prefect_monitoring.ingest.sources import (
    COUNTED_SOURCES,
    DEPLOYMENTS,
    FLOWS,
    SOURCES,
    Readers,
    SourceEntry,
    read_source,
)
from prefect_monitoring.prefect_api.errors import ApiError, ThrottledError

log = logging.getLogger(__name__)

# The interval of progress updates.
STRIDE_SECONDS: Final = 1.0
REFUSED_CODES: Final = frozenset({"401", "403"})
PATIENCE_SECONDS: Final = (1.0, 5.0, 15.0, 30.0, 60.0)


class Progress(Protocol):
    """Receives the progress of a source, in its own unit; `total` is None where unknown."""

    def __call__(self, source: str, done: float, total: float | None) -> None: ...


Measure = Callable[[Reading], tuple[float, float | None]]
"""Gives the progress of a source after a reading, and the total; None where unknown."""


async def load(readers: Readers, report: Progress) -> None:
    """Counts everything since the ledger's horizon, of each source with a cursor. Raises ApiError, LedgerError.

    An error is retried several times; what was counted before it is kept.
    """
    reader = readers.flow_runs
    for entry in SOURCES:
        if entry.name in {FLOWS, DEPLOYMENTS}:
            await _patiently(partial(read_source, entry, readers, Scope(STRIDE_SECONDS)))
    reconciliations = {reconciliation.source: reconciliation for reconciliation in readers.reconciliations}
    for cursor, entry in COUNTED_SOURCES.items():
        if not entry.is_wanted(readers.metrics):
            continue
        reconciliation = reconciliations.get(cursor)
        measure = await _by_count(reconciliation) if reconciliation is not None else _by_time(reader, cursor)
        await _load(readers, entry, measure, report)
    await reader.create_zero_born_series()


async def missing(readers: Readers) -> int:
    """How many runs and task runs the API counts in closed hours, but the ledger does not. Raises ApiError."""
    count = 0
    until = readers.flow_runs.clock()
    for reconciliation in readers.reconciliations:
        if reconciliation.is_possible():
            with readers.flow_runs.aside.reading(reconciliation.source, reconciliation.source):
                count += (await reconciliation.closed_hours(0.0, until)).missing
    return count


async def expected(reconciliation: Reconciliation) -> int | None:
    """How many records of a source the API has since the ledger's horizon; None where it cannot count them."""
    if not reconciliation.is_possible():
        return None
    horizon = reconciliation.reader.ledger.cursors[reconciliation.source].horizon
    try:
        return sum((await reconciliation.count(horizon, reconciliation.reader.clock(), reconciliation.kinds)).values())
    except ApiError:
        return None


async def _load(readers: Readers, entry: SourceEntry, measure: Measure, report: Progress) -> None:
    while True:
        reading = await _patiently(lambda: read_source(entry, readers, Scope(budget=STRIDE_SECONDS)))
        report(entry.cursor, *measure(reading))
        if reading.complete:
            return


async def _by_count(reconciliation: Reconciliation) -> Measure:
    """Progress as the number of counted records, of all that the API has."""
    reader, total = reconciliation.reader, await expected(reconciliation)
    horizon = reader.ledger.cursors[reconciliation.source].horizon
    counted = await reader.in_ledger(reader.ledger.ended_by_kind, reconciliation.source, horizon, reader.clock())
    done = sum(counted.values())

    def measure(reading: Reading) -> tuple[float, float | None]:
        nonlocal done
        done += reading.records
        return done, total

    return measure


def _by_time(reader: Reader, cursor: str) -> Measure:
    """Progress in seconds read since the cursor's watermark, for sources that the API cannot count."""
    begun_at = reader.ledger.cursors[cursor].watermark

    def measure(reading: Reading) -> tuple[float, float | None]:
        watermark = reader.clock() if reading.complete else reader.ledger.cursors[cursor].watermark
        return watermark - begun_at, reader.clock() - begun_at

    return measure


async def _patiently(read: Callable[[], Awaitable[Reading]]) -> Reading:
    """Retries with the delays of `PATIENCE_SECONDS`. Raises the ApiError of the last try."""
    tries = AsyncRetrying(
        retry=retry_if_exception(_may_pass),
        stop=stop_after_attempt(1 + len(PATIENCE_SECONDS)),
        wait=_wait_before_next_try,
        before_sleep=_log_fault,
        reraise=True,
    )

    async def once() -> Reading:  # tenacity awaits only coroutine functions, not callables that return an awaitable
        return await read()

    return await tries(once)


def _may_pass(fault: BaseException) -> bool:
    """Whether to retry: refused credentials stay refused."""
    return isinstance(fault, ApiError) and fault.code not in REFUSED_CODES


def _wait_before_next_try(state: RetryCallState) -> float:
    fault = state.outcome.exception() if state.outcome else None
    number = min(state.attempt_number, len(PATIENCE_SECONDS))  # also called after the last try
    return fault.seconds if isinstance(fault, ThrottledError) else PATIENCE_SECONDS[number - 1]


def _log_fault(state: RetryCallState) -> None:
    log.info("%s; trying again in %.0f s", state.outcome and state.outcome.exception(), state.upcoming_sleep)
