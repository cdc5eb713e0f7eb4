"""Loading what Prefect still holds: the readers of `serve`, one after the other, as far as they go."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt

from prefect_monitoring.ingest.readers import Readers
from prefect_monitoring.ingest.reconcile import Audit
from prefect_monitoring.ingest.source import Reading
from prefect_monitoring.model.cursor import FLOW_RUNS, LOG_LINES, TASK_RUNS
from prefect_monitoring.prefect_api.errors import ApiError, ThrottledError

log = logging.getLogger(__name__)

# After so long a reading shows how far it is.
STRIDE_SECONDS: Final = 1.0
PATIENCE_SECONDS: Final = (1.0, 5.0, 15.0, 30.0, 60.0)


class Progress(Protocol):
    """Told how far a source is: `total` is None where nobody knows, both are in its own unit."""

    def __call__(self, source: str, done: float, total: float | None) -> None: ...


async def load(readers: Readers, tell: Progress) -> None:
    """Counts every finished run, task run and METRIC line since the ledger's horizon. Raises ApiError, LedgerError.

    A fault is met with patience; what was counted before it stays.
    """
    reader = readers.flow_runs
    await _patiently(reader.read_flows)
    await _patiently(reader.read_deployments)
    for audit in readers.audits:
        await _load_finished(readers, audit, tell)
    await _load_lines(readers, tell)
    await reader.bear()


async def missing(readers: Readers) -> int:
    """How many runs and task runs the API counts in closed hours, but the ledger does not. Raises ApiError."""
    found = 0
    until = readers.flow_runs.clock()
    for audit in readers.audits:
        if audit.is_possible():
            found += (await audit.closed_hours(0.0, until)).missing
    return found


async def expected(audit: Audit) -> int | None:
    """How many records of a source the API has since the ledger's horizon; None where it cannot count them."""
    if not audit.is_possible():
        return None
    horizon = audit.reader.ledger.cursors[audit.source].horizon
    try:
        return sum((await audit.count(horizon, audit.reader.clock(), audit.kinds)).values())
    except ApiError:
        return None


async def _load_finished(readers: Readers, audit: Audit, tell: Progress) -> None:
    read: Callable[[float], Awaitable[Reading]] = {
        FLOW_RUNS: readers.flow_runs.walk_finished,
        TASK_RUNS: readers.task_runs.read_finished,
    }[audit.source]
    total = await expected(audit)
    reader, cursor = readers.flow_runs, readers.flow_runs.ledger.cursors[audit.source]
    counted = await reader.in_ledger(reader.ledger.ended_by_kind, audit.source, cursor.horizon, reader.clock())
    done = sum(counted.values())
    while True:
        reading = await _patiently(lambda: read(STRIDE_SECONDS))
        done += reading.records
        tell(audit.source, done, total)
        if reading.complete:
            return


async def _load_lines(readers: Readers, tell: Progress) -> None:
    ledger, clock = readers.flow_runs.ledger, readers.flow_runs.clock
    begun_at = ledger.cursors[LOG_LINES].watermark
    while True:
        reading = await _patiently(lambda: readers.log_lines.read(STRIDE_SECONDS))
        watermark = clock() if reading.complete else ledger.cursors[LOG_LINES].watermark
        tell(LOG_LINES, watermark - begun_at, clock() - begun_at)
        if reading.complete:
            return


async def _patiently(read: Callable[[], Awaitable[Reading]]) -> Reading:
    """Raises the ApiError of the last of `PATIENCE_SECONDS`' tries."""
    tries = AsyncRetrying(
        retry=retry_if_exception_type(ApiError),
        stop=stop_after_attempt(1 + len(PATIENCE_SECONDS)),
        wait=_wait_before_next_try,
        before_sleep=_log_fault,
        reraise=True,
    )

    async def once() -> Reading:  # tenacity awaits coroutine functions only, not whatever returns an awaitable
        return await read()

    return await tries(once)


def _wait_before_next_try(state: RetryCallState) -> float:
    fault = state.outcome.exception() if state.outcome else None
    number = min(state.attempt_number, len(PATIENCE_SECONDS))  # asked for after the last try as well
    return fault.seconds if isinstance(fault, ThrottledError) else PATIENCE_SECONDS[number - 1]


def _log_fault(state: RetryCallState) -> None:
    log.info("%s; trying again in %.0f s", state.outcome and state.outcome.exception(), state.upcoming_sleep)
