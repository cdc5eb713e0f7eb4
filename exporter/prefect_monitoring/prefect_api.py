"""What is read from the Prefect API, and how its JSON becomes records. Nothing behind this module sees JSON."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

from prefect_monitoring.prefect_http import INCOMPLETE, ApiError, PrefectHttp
from prefect_monitoring.records import TERMINAL_TYPES, Deployment, Flow, FlowRun, State

MAX_PAGE: Final = 200
MAX_REREADS: Final = 3
HISTORY_CONCURRENCY: Final = 4
HISTORY_SECONDS: Final = 5.0  # what is left is read next time: a batch that never ends would never count anything
HISTORY_FAULTS: Final = 3  # one broken run is left alone; a dead endpoint is not asked for every run
_TERMINAL: Final = sorted(TERMINAL_TYPES)

Record = TypeVar("Record")


@dataclass(frozen=True, slots=True)
class Page:
    """One page of runs, newest end first. `complete`: nothing older is left in the window."""

    runs: tuple[FlowRun, ...]
    complete: bool


class PrefectApi:
    """Reads of the Prefect API, as records. Every method raises ApiError when there is no usable answer."""

    def __init__(self, http: PrefectHttp) -> None:
        self._http = http
        self._page_limit = MAX_PAGE

    async def version(self) -> str:
        return str(await self._http.request("/admin/version"))

    async def finished_page(self, after: float, before: float | None, offset: int) -> Page:
        """Runs that ended within [after, before], newest first: the page at `offset` behind `before`."""
        ended = {"after_": _iso(after)} | ({"before_": _iso(before)} if before is not None else {})
        # Without the state filter, a run that left its terminal state but kept an end_time would be a finished one.
        criteria = {"flow_runs": {"end_time": ended, "state": {"type": {"any_": _TERMINAL}}}, "sort": "END_TIME_DESC"}
        rows, limit = await self._page("/flow_runs/filter", criteria, offset)
        return Page(tuple(_decode(_flow_run, rows)), len(rows) < limit)

    async def active_runs(self) -> list[FlowRun]:
        """Every run that needs attention or resources now: neither over nor merely scheduled for later."""
        criteria = {
            "flow_runs": {
                "operator": "and_",
                "state": {"operator": "and_", "type": {"not_any_": _TERMINAL}, "name": {"not_any_": ["Scheduled"]}},
            },
            "sort": "ID_DESC",
        }
        return _decode(_flow_run, await self._all("/flow_runs/filter", criteria))

    async def histories(self, run_ids: Sequence[str]) -> tuple[dict[str, tuple[State, ...]], ApiError | None]:
        """Every state that each run was in, oldest first, and the fault that kept some runs' states from being read."""
        begun = time.monotonic()
        gate = asyncio.Semaphore(HISTORY_CONCURRENCY)
        found: dict[str, tuple[State, ...]] = {}
        faults: list[ApiError] = []

        async def read(run_id: str) -> None:
            async with gate:
                if len(faults) >= HISTORY_FAULTS:
                    return
                if time.monotonic() - begun > HISTORY_SECONDS:
                    faults.append(ApiError("there are more state histories to read than there is time", INCOMPLETE))
                    return
                try:
                    states = await self._http.request("/flow_run_states/", params={"flow_run_id": run_id})
                    found[run_id] = tuple(sorted(_decode(_state, states), key=lambda state: state.at))
                except ApiError as fault:
                    faults.append(fault)

        await asyncio.gather(*map(read, run_ids))
        return found, faults[0] if faults else None

    async def ended_by_type(self, low: float, high: float, types: Collection[str]) -> dict[str, int]:
        """How many runs ended within [low, high], by state type."""
        ended = {"after_": _iso(low), "before_": _iso(high)}
        counts: dict[str, int] = {}
        # One after the other: side by side, those that a first failure leaves behind would go on unseen.
        for state_type in sorted(types):
            criteria = {"flow_runs": {"end_time": ended, "state": {"type": {"any_": [state_type]}}}}
            counts[state_type] = int(await self._http.request("/flow_runs/count", json=criteria))
        return counts

    async def flows(self, ids: Collection[str] | None = None) -> dict[str, Flow]:
        """All flows, or those of `ids` that exist, by id."""
        return {flow.id: flow for flow in _decode(_flow, await self._by_id("/flows/filter", "flows", ids))}

    async def deployments(self, ids: Collection[str] | None = None) -> dict[str, Deployment]:
        """All deployments, or those of `ids` that exist, by id."""
        rows = await self._by_id("/deployments/filter", "deployments", ids)
        return {deployment.id: deployment for deployment in _decode(_deployment, rows)}

    async def _by_id(self, endpoint: str, kind: str, ids: Collection[str] | None) -> list[dict[str, Any]]:
        if ids is None:
            return await self._all(endpoint, {"sort": "NAME_ASC"})
        rows: list[dict[str, Any]] = []
        wanted = sorted(ids)
        for start in range(0, len(wanted), MAX_PAGE):
            batch = wanted[start : start + MAX_PAGE]
            rows += await self._all(endpoint, {kind: {"id": {"any_": batch}}, "sort": "NAME_ASC"})
        return rows

    async def _all(self, endpoint: str, criteria: Mapping[str, object]) -> list[dict[str, Any]]:
        """Every row, once. Pages overlap by a row: where that row has moved, one came or went and all is read again.

        Where rows never stand still, the last reading goes on to the end all the same.
        """
        found: dict[str, dict[str, Any]] = {}
        for rereads_left in reversed(range(MAX_REREADS)):
            offset, last = 0, None
            while True:
                rows, limit = await self._page(endpoint, criteria, offset)
                shifted = last is not None and (not rows or rows[0]["id"] != last)
                found.update((row["id"], row) for row in rows)
                if len(rows) < limit or (shifted and rereads_left):
                    break
                last = rows[-1]["id"] if limit > 1 else None
                offset += max(len(rows) - 1, 1)
            if not shifted:
                break
        return list(found.values())

    async def _page(
        self, endpoint: str, criteria: Mapping[str, object], offset: int
    ) -> tuple[list[dict[str, Any]], int]:
        """Rows and the limit they were asked with. A server that allows smaller pages says so in its 422."""
        limit = self._page_limit
        try:
            rows = await self._http.request(endpoint, json={**criteria, "limit": limit, "offset": offset})
        except ApiError as error:
            allowed = _allowed_limit(error)
            if allowed is None or allowed >= limit:
                raise
            self._page_limit = allowed
            return await self._page(endpoint, criteria, offset)
        if not isinstance(rows, list):
            raise ApiError(f"{endpoint} answered something that is not a list", "invalid_json")
        if not all(isinstance(row, dict) and "id" in row for row in rows):
            raise ApiError("the API answered rows of another shape than Prefect's", "invalid_json")
        return rows, limit


def _allowed_limit(error: ApiError) -> int | None:
    found = re.search(rb"(?:less than or equal to|must be at most|maximum of)\s+(\d+)", error.detail)
    return max(int(found[1]), 1) if found and error.code == "422" else None


def _decode(decode: Callable[[Mapping[str, Any]], Record], rows: Iterable[Mapping[str, Any]]) -> list[Record]:
    """Records from rows. ApiError for a row that is not what Prefect sends."""
    try:
        return [decode(row) for row in rows]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"{type(error).__name__}: {error}"
        raise ApiError(f"the API answered rows of another shape than Prefect's ({what})", "invalid_json") from error


def _iso(instant: float) -> str:
    return datetime.fromtimestamp(round(instant * 1e6) / 1e6, UTC).isoformat()


def _instant(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _maybe_instant(text: str | None) -> float | None:
    return None if text is None else _instant(text)


def _state(row: Mapping[str, Any]) -> State:
    return State(row["id"], row["type"], row["name"], _instant(row["timestamp"]), row.get("message") or "")


def _flow_run(row: Mapping[str, Any]) -> FlowRun:
    return FlowRun(
        id=row["id"],
        name=row["name"],
        flow_id=row["flow_id"],
        deployment_id=row["deployment_id"],
        work_pool=row.get("work_pool_name") or "",
        tags=tuple(row["tags"]),
        state=_state(row["state"]),
        attempts=row["run_count"],
        rescheduled=(row.get("empirical_policy") or {}).get("retry_type") == "reschedule",
        expected_at=_maybe_instant(row["expected_start_time"]),
        started_at=_maybe_instant(row["start_time"]),
        ended_at=_maybe_instant(row["end_time"]),
        run_time=row.get("total_run_time"),
    )


def _flow(row: Mapping[str, Any]) -> Flow:
    return Flow(row["id"], row["name"])


def _deployment(row: Mapping[str, Any]) -> Deployment:
    return Deployment(
        id=row["id"],
        name=row["name"],
        flow_id=row["flow_id"],
        work_pool=row.get("work_pool_name") or "",
        work_queue=row.get("work_queue_name") or "",
        tags=tuple(row["tags"]),
    )
