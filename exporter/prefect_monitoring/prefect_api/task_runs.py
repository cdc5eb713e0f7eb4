"""Reads task runs from the Prefect API, without placeholders of subflows."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from prefect_monitoring.model.records import ROLLED_BACK, TaskRun
from prefect_monitoring.prefect_api.capabilities import Capability
from prefect_monitoring.prefect_api.errors import ApiError
from prefect_monitoring.prefect_api.pagination import (
    Page,
    Paginator,
    Row,
    count_by_type,
    decode,
    ended,
    identifier,
    iso,
    maybe_instant,
    text,
)
from prefect_monitoring.prefect_api.state_history import Histories, present_state, read_histories

_ENDPOINT: Final = "/task_runs/filter"
_NO_PLACEHOLDERS: Final = {"subflow_runs": {"exists_": False}}
# The filter of task runs has no "not".
_UNFINISHED: Final = ("SCHEDULED", "PENDING", "RUNNING", "PAUSED", "CANCELLING")
_KEY_HASH: Final = re.compile(r"-[0-9a-f]{8}$")


class TaskApi:
    """Reads of task runs. Every method raises ApiError when there is no usable answer.

    `filters_ends`: whether the server can filter task runs by their end; only then can it count them by end.
    """

    def __init__(self, paginator: Paginator) -> None:
        self._paginator = paginator
        self._ends = Capability(
            "The server cannot choose task runs by their end (Prefect 3.6.22 can): the last five minutes are read again"
            " with each poll, and task runs are not audited"
        )

    @property
    def filters_ends(self) -> bool:
        return self._ends.is_there

    async def finished_page(self, after: float, before: float | None, offset: int) -> Page[TaskRun]:
        """Task runs that ended within [after, before], newest first: the page at `offset` behind `before`."""
        if self.filters_ends:
            try:
                criteria = {"task_runs": _ended(after, before), "sort": "END_TIME_DESC"}
                rows, limit = await self._paginator.page(_ENDPOINT, criteria, offset)
                runs = tuple(decode(_task_run, rows))
                return Page(runs, len(rows) < limit, len(rows) - len(runs))
            except ApiError as error:
                if error.code != "422":
                    raise
                page = await self._page_by_start(
                    after, before, offset
                )  # raises if the endpoint is broken rather than old
            self._ends.refused()
            return page
        return await self._page_by_start(after, before, offset)

    async def _page_by_start(self, after: float, before: float | None, offset: int) -> Page[TaskRun]:
        return await page_by_start(self._paginator, partial(decode, _task_run), _NO_PLACEHOLDERS, after, before, offset)

    async def unfinished(self, flow_run_ids: Collection[str]) -> list[TaskRun]:
        """The task runs of these flow runs that are not over."""
        others = {"state": {"type": {"any_": _UNFINISHED}}, **_NO_PLACEHOLDERS}
        return await self._among("flow_run_id", flow_run_ids, **others)

    async def by_id(self, ids: Collection[str]) -> list[TaskRun]:
        """Those of `ids` that exist."""
        return await self._among("id", ids, **_NO_PLACEHOLDERS)

    async def _among(self, column: str, values: Collection[str], **others: object) -> list[TaskRun]:
        rows = await self._paginator.among(_ENDPOINT, "task_runs", column, values, sort="ID_DESC", **others)
        return decode(_task_run, rows)

    async def count(self, low: float, high: float) -> int:
        """How many task runs ended within [low, high]."""
        return await self._count(low, high)

    async def ended_by_kind(self, low: float, high: float, kinds: Collection[str]) -> dict[str, int]:
        """How many task runs ended within [low, high], by `TaskRun.kind`."""
        counts = await count_by_type(partial(self._count, low, high), set(kinds) - {ROLLED_BACK})
        if "COMPLETED" in kinds or ROLLED_BACK in kinds:
            rolled_back = await self._count(low, high, ["COMPLETED"], ROLLED_BACK)
            both = counts.get("COMPLETED", 0)
            counts |= {"COMPLETED": both - rolled_back, ROLLED_BACK: rolled_back}
        return {kind: counts[kind] for kind in kinds}

    async def histories(self, run_ids: Sequence[str]) -> Histories:
        """Every state that each task run was in."""
        return await read_histories(self._paginator.http, "/task_run_states/", "task_run_id", run_ids)

    async def _count(self, low: float, high: float, types: Iterable[str] = (), *names: str) -> int:
        chosen = _ended(low, high, types)
        if names:
            chosen["state"]["name"] = {"any_": names}
        try:
            return await self._paginator.count("/task_runs/count", {"task_runs": chosen})
        except ApiError as error:
            if error.code == "422":
                self._ends.refused()
            raise


def _ended(low: float, high: float | None, types: Iterable[str] = ()) -> dict[str, Any]:
    return {**ended(low, high, types), **_NO_PLACEHOLDERS}


def _task_run(row: Row) -> TaskRun:
    state, message_known = present_state(row)
    name, task_key, dynamic_key = (str(row.get(key) or "") for key in ("name", "task_key", "dynamic_key"))
    task = task_name(name, task_key, dynamic_key)
    if not task:
        raise ValueError("neither the run nor its task has a name")
    return TaskRun(
        id=identifier(row["id"]),
        task=task,
        flow_run_id=text(row["flow_run_id"]) if row.get("flow_run_id") is not None else None,
        flow_run_attempt=int(row.get("flow_run_run_count") or 0),
        state=state,
        attempts=int(row.get("run_count") or 0),
        started_at=maybe_instant(row.get("start_time")),
        ended_at=maybe_instant(row.get("end_time")),
        run_time=float(row.get("total_run_time") or 0.0),
        message_known=message_known,
    )


def task_name(run_name: str, task_key: str, dynamic_key: str) -> str:
    """The task's name: that of the run without Prefect's suffix, or of the function where the user names the runs.

    A task key ends in a hash of the code, which changes with every edit.
    """
    for suffix in (dynamic_key[:3], dynamic_key):
        if suffix and run_name.endswith(f"-{suffix}") and len(run_name) > len(suffix) + 1:
            return run_name.removesuffix(f"-{suffix}")
    return _KEY_HASH.sub("", task_key) or run_name


async def page_by_start(
    paginator: Paginator,
    decoded: Callable[[Sequence[Mapping[str, Any]]], list[TaskRun]],
    others: Mapping[str, object],
    after: float,
    before: float | None,
    offset: int,
) -> Page[TaskRun]:
    """Task runs that ended within [after, before], newest first, without the first `offset`; `others` filter too.

    Runs that ended by `before` started by then; runs that started by then and ended later are skipped.
    """
    begun = {"start_time": {"before_": iso(before)}} if before is not None else {}
    criteria = {"task_runs": {**begun, **others}, "sort": "END_TIME_DESC"}
    kept: list[TaskRun] = []
    read = 0
    while True:
        rows, limit = await paginator.page("/task_runs/filter", criteria, read)
        read += len(rows)
        ends = [run for run in decoded(rows) if run.ended_at is not None]
        kept += [run for run in ends if after <= (run.ended_at or 0.0) <= (before or float("inf"))]
        complete = len(rows) < limit or any((run.ended_at or 0.0) < after for run in ends)
        if complete or len(kept) > offset:
            return Page(tuple(kept[offset:]), complete)
