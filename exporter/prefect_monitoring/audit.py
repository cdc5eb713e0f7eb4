"""Closed hours compared with the API's own counts. What differs is read again: a state set by hand moves no end_time.

More in the API than in the ledger was missed, and is counted now. Less was deleted or runs again: noted, never
counted back.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Final

from prefect_monitoring.fold import HOUR
from prefect_monitoring.prefect_api import MAX_PAGE
from prefect_monitoring.reader import OVERLAP_SECONDS, Reader
from prefect_monitoring.records import TERMINAL_TYPES
from prefect_monitoring.sources import Reading

log = logging.getLogger(__name__)

SMALLEST_SPAN: Final = HOUR


async def recheck(reader: Reader, read_until: float) -> Reading:
    """Compares the ends since the horizon up to `read_until` with the ledger; its records are the runs read again.

    Costs one count a state type when nothing differs; a difference is narrowed down by halving. Raises ApiError.
    """
    horizon = reader.ledger.cursor.horizon
    return Reading(await _narrow(reader, horizon, read_until - OVERLAP_SECONDS, TERMINAL_TYPES))


async def _narrow(reader: Reader, low: float, high: float, types: Collection[str]) -> int:
    if high <= low:
        return 0
    theirs = await reader.api.ended_by_type(low, high, types)
    ours = await reader.in_ledger(reader.ledger.ended_by_type, low, high)
    differing = {kind for kind in types if theirs[kind] != ours.get(kind, 0)}
    if not differing:
        return 0
    to_read = max(sum(theirs.values()), sum(ours.values()))
    if high - low > SMALLEST_SPAN and to_read > MAX_PAGE:
        middle = (low + high) / 2
        return await _narrow(reader, low, middle, differing) + await _narrow(reader, middle, high, differing)
    return await _read_again(reader, low, high)


async def _read_again(reader: Reader, low: float, high: float) -> int:
    present = await reader.read_window(low, high)
    gone = await reader.in_ledger(reader.ledger.mark_gone, low, high, present)
    log.info("Read %d finished runs again: their counts differed from the API's; %d are gone there", len(present), gone)
    return len(present)
