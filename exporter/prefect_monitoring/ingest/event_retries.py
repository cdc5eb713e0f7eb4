"""Tries events again, by their ids, that could not be read."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection
from typing import Protocol, TypeVar

from prefect_monitoring.ingest.flow_runs import Reader
from prefect_monitoring.model.cursor import OVERLAP_SECONDS
from prefect_monitoring.model.units import DAY
from prefect_monitoring.prefect_api.errors import ApiError

log = logging.getLogger(__name__)


class Events(Protocol):
    @property
    def complete(self) -> bool: ...


EventPage = TypeVar("EventPage", bound=Events)


async def try_again(
    reader: Reader,
    cursor: str,
    read: Callable[[float, float, Collection[str]], Awaitable[EventPage]],
    count: Callable[[EventPage], set[str]],
) -> None:
    """Reads again the records of the cursor's source that were set aside and are due.

    `read`: as `EventsApi.failed_actions`. `count` runs on the ledger's thread, moves no cursor, and returns the events'
    ids. Raises LedgerError.
    """
    due = await reader.in_ledger(reader.aside.due, cursor)
    if not due:
        return
    ids = {record.id for record in due}
    since = min(record.since - DAY if record.after is None else record.after for record in due)
    try:
        page = await read(since, reader.clock() + OVERLAP_SECONDS, ids)
    except ApiError as fault:
        log.debug("What was set aside is tried later: %s", fault)
        return
    there = await reader.in_ledger(count, page)
    await reader.in_ledger(reader.aside.settle, cursor, due, there, () if page.complete else ids - there)
