"""Reads finished runs with all their data, as the API returns it, for the archive."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from typing import Any, Final

from prefect_monitoring.model.records import TERMINAL_TYPES
from prefect_monitoring.prefect_api.errors import ApiError
from prefect_monitoring.prefect_api.pagination import MAX_PAGE, Paginator, Row, decode, iso

RUNS_A_PAGE: Final = 50
"""Runs always include their parameters, at most half a megabyte each."""
_FLOW_RUNS: Final = "/flow_runs/filter"
_TASK_RUNS: Final = "/task_runs/filter"
_BROKEN: Final = frozenset({"404", "422", "500"})


class RawRunsApi:
    """Reads as rows of decoded JSON. Every method raises ApiError when there is no usable answer."""

    def __init__(self, paginator: Paginator) -> None:
        self._paginator = paginator

    async def finished(self, after: float, before: float) -> AsyncIterator[list[Row]]:
        """Runs that ended within [after, before], newest first, a page at a time."""

        def criteria(bound: str) -> Mapping[str, object]:
            window = {"end_time": {"after_": iso(after), "before_": bound}}
            return {"flow_runs": window, "sort": "END_TIME_DESC"}

        async for rows in self._by_time(_FLOW_RUNS, criteria, "end_time", iso(before), at_most=RUNS_A_PAGE):
            yield [row for row in rows if row.get("state_type") in TERMINAL_TYPES]

    async def logs(self, flow_run_ids: Collection[str]) -> AsyncIterator[list[Row]]:
        """The log lines of these runs and of their task runs, oldest first, a page at a time."""

        def criteria(bound: str) -> Mapping[str, object]:
            since = {"timestamp": {"after_": bound}} if bound else {}
            return {"logs": {"flow_run_id": {"any_": sorted(flow_run_ids)}, **since}, "sort": "TIMESTAMP_ASC"}

        async for rows in self._by_time("/logs/filter", criteria, "timestamp", ""):
            yield rows

    async def task_runs(self, flow_run_ids: Collection[str]) -> AsyncIterator[list[Row]]:
        """The task runs of these runs, including placeholders of subflows, a page at a time."""
        criteria = {"flow_runs": {"id": {"any_": sorted(flow_run_ids)}}, "sort": "ID_DESC"}
        seen: set[str] = set()
        offset = 0
        while True:
            rows, limit = await self._paginator.page(_TASK_RUNS, criteria, offset)
            yield [row for row in rows if row["id"] not in seen]  # a new row moves others to the next page
            seen.update(row["id"] for row in rows)
            offset += len(rows)
            if len(rows) < limit:
                return

    async def states(self, flow_run_id: str) -> list[Row] | None:
        """All states of a run, oldest first; None where the server cannot answer for this run."""
        try:
            rows = await self._paginator.http.request("/flow_run_states/", params={"flow_run_id": flow_run_id})
        except ApiError as error:
            if error.code in _BROKEN:
                return None
            raise
        return decode(dict, sorted(rows, key=_entered))

    async def names(self, endpoint: str, kind: str, ids: Collection[str]) -> dict[str, str]:
        """The names of the flows or deployments of `ids` that exist, by id."""
        sort = "NAME_ASC" if kind == "flows" else "CREATED_DESC"
        rows = await self._paginator.by_id(endpoint, kind, ids, sort=sort)
        return {row["id"]: str(row["name"]) for row in rows}

    async def count_task_runs(self, flow_run_ids: Sequence[str]) -> int:
        return await self._paginator.count("/task_runs/count", {"flow_runs": {"id": {"any_": sorted(flow_run_ids)}}})

    async def _by_time(
        self,
        endpoint: str,
        criteria: Callable[[str], Mapping[str, object]],
        column: str,
        bound: str,
        *,
        at_most: int = MAX_PAGE,
    ) -> AsyncIterator[list[Row]]:
        """Rows sorted by `column`, each once: a page begins at the last instant of the previous page.

        Large offsets are slow; they are only needed where more rows share an instant than fit a page.
        """
        offset = 0
        seen: set[str] = set()
        while True:
            rows, limit = await self._paginator.page(endpoint, criteria(bound), offset, at_most=at_most)
            yield [row for row in rows if row["id"] not in seen]
            if len(rows) < limit:
                return
            last = str(rows[-1][column])
            if last == bound:
                offset += len(rows)
                seen |= {row["id"] for row in rows}
            else:
                bound, offset = last, 0
                seen = {row["id"] for row in rows if row[column] == last}


def _entered(state: Mapping[str, Any]) -> str:
    return str(state.get("timestamp"))
