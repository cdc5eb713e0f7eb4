"""Events that could not be read, tried again by their ids."""

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


Found = TypeVar("Found", bound=Events)


async def try_again(
    reader: Reader,
    cursor: str,
    read: Callable[[float, float, Collection[str]], Awaitable[Found]],
    count: Callable[[Found], set[str]],
) -> None:
    """Reads again what was set aside of the source with this cursor, as far as that is due.

    `read` as `EventsApi.failed_actions`. `count` runs on the ledger's thread, moves no cursor, and returns the events'
    ids. Raises LedgerError.
    """
    due = await reader.in_ledger(reader.aside.due, cursor)
    if not due:
        return
    ids = {one.id for one in due}
    since = min(one.since - DAY if one.after is None else one.after for one in due)
    try:
        found = await read(since, reader.clock() + OVERLAP_SECONDS, ids)
    except ApiError as fault:
        log.debug("What was set aside is tried later: %s", fault)
        return
    there = await reader.in_ledger(count, found)
    await reader.in_ledger(reader.aside.settle, cursor, due, there, () if found.complete else ids - there)
