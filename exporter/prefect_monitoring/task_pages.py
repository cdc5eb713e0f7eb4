"""Pages of finished task runs from servers before Prefect 3.6.22, which sort them by their end but cannot filter so."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prefect_monitoring.model.records import TaskRun
from prefect_monitoring.pager import Page, Pager, iso


async def page_by_start(
    pager: Pager,
    decoded: Callable[[Sequence[Mapping[str, Any]]], list[TaskRun]],
    others: Mapping[str, object],
    after: float,
    before: float | None,
    offset: int,
) -> Page[TaskRun]:
    """Task runs that ended within [after, before], newest first, less the first `offset` of them; `others` filter too.

    What ended by `before` has begun by then. What began by then and ended later comes first, and is passed over.
    """
    begun = {"start_time": {"before_": iso(before)}} if before is not None else {}
    criteria = {"task_runs": {**begun, **others}, "sort": "END_TIME_DESC"}
    kept: list[TaskRun] = []
    read = 0
    while True:
        rows, limit = await pager.page("/task_runs/filter", criteria, read)
        read += len(rows)
        ends = [run for run in decoded(rows) if run.ended_at is not None]
        kept += [run for run in ends if after <= (run.ended_at or 0.0) <= (before or float("inf"))]
        complete = len(rows) < limit or any((run.ended_at or 0.0) < after for run in ends)
        if complete or len(kept) > offset:
            return Page(tuple(kept[offset:]), complete)
