"""Reads flow runs, flows and deployments from the Prefect API, as records instead of JSON."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from prefect_monitoring.model.records import BAD_TYPES, TERMINAL_TYPES, Deployment, Flow, FlowRun
from prefect_monitoring.prefect_api.client import PrefectHttp
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

_TERMINAL: Final = sorted(TERMINAL_TYPES)
_OVERDUE: Final = ("Scheduled", "Late")


def _active(*excluded: str) -> dict[str, Any]:
    """The filter for runs that are not over and whose state has none of these names."""
    state = {"operator": "and_", "type": {"not_any_": _TERMINAL}, "name": {"not_any_": list(excluded)}}
    return {"operator": "and_", "state": state}


@dataclass(frozen=True, slots=True)
class RunGroup:
    """Runs of some `deployments`, or runs of some `flows` without a deployment; by id."""

    deployments: tuple[str, ...] = ()
    flows: tuple[str, ...] = ()

    @property
    def is_single(self) -> bool:
        return len(self.deployments) + len(self.flows) == 1

    def halves(self) -> tuple[RunGroup, RunGroup]:
        half, other = (len(self.deployments) + 1) // 2, (len(self.flows) + 1) // 2
        return (
            RunGroup(self.deployments[:half], self.flows[:other]),
            RunGroup(self.deployments[half:], self.flows[other:]),
        )


def _overdue(before: float, names: Sequence[str], group: RunGroup | None) -> dict[str, Any]:
    """The criteria for runs that wait for their start under one of these state names, and were expected before."""
    waiting = {"operator": "and_", "type": {"any_": ["SCHEDULED"]}, "name": {"any_": list(names)}}
    runs: dict[str, Any] = {"operator": "and_", "state": waiting, "expected_start_time": {"before_": iso(before)}}
    if group is None:
        return {"flow_runs": runs}
    if group.deployments:
        return {"flow_runs": {**runs, "deployment_id": {"any_": list(group.deployments)}}}
    alone = {**runs, "deployment_id": {"operator": "and_", "is_null_": True}}
    return {"flow_runs": alone, "flows": {"id": {"any_": list(group.flows)}}}


class PrefectApi:
    """Reads of the Prefect API, as records. Every method raises ApiError when there is no usable answer."""

    def __init__(self, http: PrefectHttp) -> None:
        self._http = http
        self.paginator = Paginator(http)

    async def version(self) -> str:
        return str(await self._http.request("/admin/version"))

    async def finished_page(self, after: float, before: float | None, offset: int) -> Page[FlowRun]:
        """Runs that ended within [after, before], newest first: the page at `offset` behind `before`."""
        criteria = {"flow_runs": ended(after, before), "sort": "END_TIME_DESC"}
        rows, limit = await self.paginator.page("/flow_runs/filter", criteria, offset)
        runs = tuple(decode(_flow_run, rows))
        return Page(runs, len(rows) < limit, len(rows) - len(runs))

    async def runs_without_end(self, after: float) -> list[FlowRun]:
        """Runs that are over, expected `after`, without an end time: older servers set none if a run never started."""
        criteria = {
            "flow_runs": {
                "end_time": {"is_null_": True},
                "expected_start_time": {"after_": iso(after)},
                "state": {"type": {"any_": _TERMINAL}},
            },
            "sort": "ID_DESC",
        }
        return decode(_flow_run, await self.paginator.all("/flow_runs/filter", criteria))

    async def active_runs(self, *, late: bool = True, most: int | None = None) -> list[FlowRun]:
        """Every active run: neither over nor merely scheduled for later.

        Without Late runs if `late` is false; with `most`, possibly only some more than that.
        """
        criteria = {"flow_runs": _active("Scheduled", *(() if late else ("Late",))), "sort": "ID_DESC"}
        return decode(_flow_run, await self.paginator.all("/flow_runs/filter", criteria, most=most))

    async def overdue_runs(
        self,
        before: float,
        names: Sequence[str] = _OVERDUE,
        *,
        group: RunGroup | None = None,
        most: int | None = None,
    ) -> list[FlowRun]:
        """Runs that wait for their start, in a state with one of these names, and were expected before.

        Only those of the `group`, if given; with `most`, possibly only some more than that.
        """
        criteria = {**_overdue(before, names, group), "sort": "ID_DESC"}
        return decode(_flow_run, await self.paginator.all("/flow_runs/filter", criteria, most=most))

    async def count_overdue(self, before: float, group: RunGroup | None = None) -> int:
        """How many runs wait for a start that was expected before; all, or those of a group."""
        return await self.paginator.count("/flow_runs/count", _overdue(before, _OVERDUE, group))

    async def longest_overdue(self, before: float, group: RunGroup) -> list[FlowRun]:
        """The run that was expected first among those that `count_overdue` counts, in a list."""
        criteria = {**_overdue(before, _OVERDUE, group), "sort": "EXPECTED_START_TIME_ASC"}
        rows, _ = await self.paginator.page("/flow_runs/filter", criteria, 0, at_most=1)
        return decode(_flow_run, rows)

    async def active_children(self, parent_ids: Iterable[str]) -> set[str]:
        """The ids of the active subflow runs of these flow runs."""
        rows = await self.paginator.among(
            "/flow_runs/filter",
            "flow_runs",
            "parent_flow_run_id",
            set(parent_ids),
            sort="ID_DESC",
            **_active("Scheduled"),
        )
        return {row["id"] for row in rows}

    async def histories(self, run_ids: Sequence[str]) -> Histories:
        """Every state that each run was in."""
        return await read_histories(self._http, "/flow_run_states/", "flow_run_id", run_ids)

    async def ended_by_type(self, low: float, high: float, types: Collection[str]) -> dict[str, int]:
        """How many runs ended within [low, high], by state type."""

        async def count(chosen: Sequence[str]) -> int:
            return await self.paginator.count("/flow_runs/count", {"flow_runs": ended(low, high, chosen)})

        return await count_by_type(count, types)

    async def good_and_bad_runs(self, flow_id: str, deployment_id: str | None, low: float, high: float) -> int:
        """How many runs of a flow's deployment, or without one, ended within [low, high] as good or bad."""
        which = {"any_": [deployment_id]} if deployment_id is not None else {"is_null_": True}
        runs = {"deployment_id": which, **ended(low, high, ["COMPLETED", *BAD_TYPES])}
        return await self.paginator.count("/flow_runs/count", {"flows": {"id": {"any_": [flow_id]}}, "flow_runs": runs})

    async def flow_runs(self, ids: Collection[str]) -> list[FlowRun]:
        """Those of `ids` that exist, in any state."""
        return decode(_flow_run, await self.paginator.by_id("/flow_runs/filter", "flow_runs", ids, sort="ID_DESC"))

    async def owner(self, run_id: str) -> tuple[Flow | None, Deployment | None]:
        """The flow and deployment of a run, even if its row cannot be read; None for those that do not exist."""
        run = {"flow_runs": {"id": {"any_": [run_id]}}}
        flows = decode(_flow, await self.paginator.all("/flows/filter", {**run, "sort": "NAME_ASC"}))
        rows = await self.paginator.all("/deployments/filter", {**run, "sort": "CREATED_DESC"}) if flows else []
        deployments = decode(_deployment, rows)
        return flows[0] if flows else None, deployments[0] if deployments else None

    async def flows(self, ids: Collection[str] | None = None) -> dict[str, Flow]:
        """All flows, or those of `ids` that exist, by id."""
        return {flow.id: flow for flow in decode(_flow, await self.paginator.by_id("/flows/filter", "flows", ids))}

    async def deployments(self, ids: Collection[str] | None = None) -> dict[str, Deployment]:
        """All deployments, or those of `ids` that exist, by id."""
        rows = await self.paginator.by_id("/deployments/filter", "deployments", ids, sort="CREATED_DESC")
        return {deployment.id: deployment for deployment in decode(_deployment, rows)}


def _flow_run(row: Row) -> FlowRun:
    state, _ = present_state(row)
    return FlowRun(
        id=identifier(row["id"]),
        name=text(row.get("name") or ""),
        flow_id=text(row["flow_id"]),
        deployment_id=text(row["deployment_id"]) if row.get("deployment_id") is not None else None,
        work_pool=text(row.get("work_pool_name") or ""),
        work_queue=text(row.get("work_queue_name") or ""),
        tags=tuple(map(text, row.get("tags") or ())),
        state=state,
        attempts=int(row.get("run_count") or 0),
        rescheduled=(row.get("empirical_policy") or {}).get("retry_type") == "reschedule",
        expected_at=maybe_instant(row.get("expected_start_time")),
        started_at=maybe_instant(row.get("start_time")),
        ended_at=maybe_instant(row.get("end_time")),
        run_time=None if row.get("total_run_time") is None else float(row["total_run_time"]),
        auto_scheduled=bool(row.get("auto_scheduled")),
        is_subflow=row.get("parent_task_run_id") is not None,
        scheduled_at=maybe_instant(row.get("next_scheduled_start_time")),
    )


def _flow(row: Row) -> Flow:
    return Flow(identifier(row["id"]), text(row["name"]))


def _deployment(row: Row) -> Deployment:
    return Deployment(
        id=identifier(row["id"]),
        name=text(row["name"]),
        flow_id=text(row.get("flow_id") or ""),
        work_pool=text(row.get("work_pool_name") or ""),
        work_queue=text(row.get("work_queue_name") or ""),
        tags=tuple(map(text, row.get("tags") or ())),
        paused=bool(row.get("paused")),
        ready=row.get("status") == "READY",
        schedules=_active_schedules(row),
    )


def _active_schedules(row: Row) -> str:
    """The active schedules, as text that changes when they change; "" without any."""
    active = [one["schedule"] for one in row.get("schedules") or () if one.get("active")]
    return orjson.dumps(active, option=orjson.OPT_SORT_KEYS).decode() if active else ""
