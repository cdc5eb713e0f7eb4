"""A model of the Prefect server: every rule of flow runs here follows Prefect 3.8's orchestration code.

It has the interface of `PrefectApi` and remembers what really happened: the totals that the exporter has to arrive at.
Time stands still unless a test moves `now`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from uuid import UUID

from prefect_monitoring.model.records import TERMINAL_TYPES, Deployment, Flow, FlowRun, State
from prefect_monitoring.prefect_api.errors import ApiError
from prefect_monitoring.prefect_api.flow_runs import RunGroup
from prefect_monitoring.prefect_api.pagination import Page
from prefect_monitoring.prefect_api.state_history import Histories
from unit.fake_actions import FakeActions
from unit.fake_details import FakeLogs, FakeTasks, note
from unit.fake_events import FakeEvents
from unit.fake_inventory import FakeInventory
from unit.fake_trends import FakeTrends

MICROSECOND = 1e-6
NAMES = {
    "SCHEDULED": "Scheduled",
    "PENDING": "Pending",
    "RUNNING": "Running",
    "PAUSED": "Paused",
    "CANCELLING": "Cancelling",
    "COMPLETED": "Completed",
    "FAILED": "Failed",
    "CRASHED": "Crashed",
    "CANCELLED": "Cancelled",
}
# 2026-03-02 was a Monday; noon keeps hour and day boundaries where a test puts them.
MONDAY_NOON = 1772452800.0


@dataclass
class ServerRun:
    id: str
    name: str
    flow_id: str
    deployment_id: str | None
    pool: str
    tags: tuple[str, ...]
    retries: int
    expected: float
    states: list[State] = field(default_factory=list)
    run_count: int = 0
    retry_type: str | None = None
    resuming: bool = False
    start: float | None = None
    end: float | None = None
    run_time: float = 0.0
    parent: str | None = None
    scheduled: float | None = None

    @property
    def state(self) -> State:
        return self.states[-1]

    @property
    def over(self) -> bool:
        return self.state.type in TERMINAL_TYPES

    @property
    def terminal_states(self) -> list[State]:
        return [state for state in self.states if state.type in TERMINAL_TYPES]

    @property
    def attempts_begun(self) -> int:
        """Entries into Running that are not a resume."""
        waits = {"SCHEDULED", "PENDING"}
        active = [state.type for state in self.states if state.type not in waits or state.name == "AwaitingRetry"]
        return sum(state_type == "RUNNING" and before != "PAUSED" for before, state_type in pairwise(["", *active]))

    @property
    def first_running(self) -> float | None:
        return next((state.at for state in self.states if state.type == "RUNNING"), None)

    def completed_durations(self) -> Iterator[tuple[State, float | None]]:
        """Each completed outcome with its seconds since the first Running after the previous terminal state."""
        began: float | None = None
        for state in self.states:
            if state.type == "RUNNING" and began is None:
                began = state.at
            elif state.type in TERMINAL_TYPES:
                if state.type == "COMPLETED":
                    yield state, None if began is None else state.at - began
                began = None

    def record(self) -> FlowRun:
        return FlowRun(
            id=self.id,
            name=self.name,
            flow_id=self.flow_id,
            deployment_id=self.deployment_id,
            work_pool=self.pool,
            tags=self.tags,
            state=self.state,
            attempts=self.run_count,
            rescheduled=self.retry_type == "reschedule",
            expected_at=self.expected,
            started_at=self.start,
            ended_at=self.end,
            run_time=self.run_time,
            is_subflow=self.parent is not None,
            scheduled_at=self.scheduled,
        )


class FakePrefect:
    def __init__(self, now: float = MONDAY_NOON, page_limit: int = 200) -> None:
        self.now = now
        self.page_limit = page_limit
        self.notes_every_end = True  # servers before 3.6 set no end time on runs that never started
        self.runs: dict[str, ServerRun] = {}
        self.deleted: dict[str, ServerRun] = {}
        self.flow_names: dict[str, Flow] = {}
        self.deployment_names: dict[str, Deployment] = {}
        self.requests: Counter[str] = Counter()
        self.before_request: Callable[[str], None] = lambda _endpoint: None
        self.broken: dict[str, ApiError] = {}
        self.unreadable: set[str] = set()  # ids of rows that cannot be decoded: flows, runs, lines, …
        self.refused: set[str] = set()  # flow and task runs whose history the server refuses
        self._ids = 0
        self.tasks = FakeTasks(self)
        self.logs = FakeLogs(self)
        self.inventory = FakeInventory()
        self.events = FakeEvents()
        self.trends = FakeTrends()
        self.actions = FakeActions(self)

    # Users and workers

    def new_id(self) -> str:
        self._ids += 1
        return str(UUID(int=self._ids))

    def clock(self) -> float:
        return self.now

    def add_flow(self, name: str) -> str:
        flow = Flow(self.new_id(), name)
        self.flow_names[flow.id] = flow
        return flow.id

    def add_deployment(
        self, name: str, flow_id: str, *, pool: str = "process", queue: str = "default", tags: tuple[str, ...] = ()
    ) -> str:
        deployment = Deployment(self.new_id(), name, flow_id, pool, queue, tags)
        self.deployment_names[deployment.id] = deployment
        return deployment.id

    def rename_flow(self, flow_id: str, name: str) -> None:
        self.flow_names[flow_id] = Flow(flow_id, name)

    def schedule(
        self,
        flow_id: str,
        deployment_id: str | None = None,
        *,
        in_seconds: float = 0.0,
        retries: int = 0,
        tags: tuple[str, ...] = (),
    ) -> str:
        pool = self.deployment_names[deployment_id].work_pool if deployment_id else ""
        run_id = self.new_id()
        run = ServerRun(run_id, f"run-{self._ids}", flow_id, deployment_id, pool, tags, retries, self.now + in_seconds)
        self.runs[run_id] = run
        run.states.append(State(self.new_id(), "SCHEDULED", "Scheduled", self.now, ""))
        return run_id

    def set_state(
        self, run_id: str, state_type: str, name: str = "", message: str = "", *, force: bool = False
    ) -> bool:
        """Proposes a state, as workers, the UI and the API do; returns whether the run changed."""
        run = self.runs[run_id]
        before = run.state.type
        name = name or NAMES[state_type]
        if not force:
            if before in TERMINAL_TYPES and not self._may_leave(run, state_type):
                return False
            if before == "PAUSED" and state_type == "SCHEDULED":
                run.resuming = True
            if before == "RUNNING" and state_type == "FAILED":
                if run.run_count > run.retries:
                    run.retry_type = None
                else:
                    run.retry_type, run.resuming = "in_process", False
                    state_type, name = "SCHEDULED", "AwaitingRetry"
        if name == "Running" and run.run_count and not run.resuming:
            name = "Retrying" if run.retry_type == "in_process" else name
        if self.now <= run.state.at:
            self.now = run.state.at + MICROSECOND
        self._enter(run, State(self.new_id(), state_type, name, self.now, message))
        if before == "PAUSED" and state_type == "RUNNING":
            run.resuming = True  # set after the transition, which has counted an attempt
        return True

    def _may_leave(self, run: ServerRun, state_type: str) -> bool:
        """HandleFlowTerminalStateTransitions."""
        if state_type in {"CANCELLING", "PAUSED", "CRASHED"}:
            return False
        if state_type == "SCHEDULED" and run.deployment_id is None:
            return False
        if state_type not in TERMINAL_TYPES:
            run.resuming = False
            run.retry_type = "reschedule" if state_type == "SCHEDULED" else None
        return True

    def _enter(self, run: ServerRun, state: State) -> None:
        before = run.state.type
        if before == "RUNNING":
            run.run_time += state.at - run.state.at
        if state.type == "RUNNING":
            run.start = state.at if run.start is None else run.start
            run.run_count += not run.resuming
        if before in TERMINAL_TYPES and state.type not in TERMINAL_TYPES:
            run.end = None
        if state.type in TERMINAL_TYPES and run.end is None:
            run.start = state.at if run.start is None else run.start
            run.end = state.at
        if state.type == "RUNNING" or state.type in TERMINAL_TYPES:
            run.resuming = False
        run.states.append(state)

    def start(self, run_id: str, after: float = 0.0) -> None:
        self.set_state(run_id, "PENDING")
        self.now += after
        self.set_state(run_id, "RUNNING")

    def finish(self, run_id: str, after: float = 0.0, state_type: str = "COMPLETED", message: str = "") -> None:
        self.now += after
        self.set_state(run_id, state_type, message=message)

    def retry(self, run_id: str) -> bool:
        """Does what the UI's Retry button does."""
        return self.set_state(run_id, "SCHEDULED", "AwaitingRetry")

    def delete_run(self, run_id: str) -> None:
        self.deleted[run_id] = self.runs.pop(run_id)

    def delete_deployment(self, deployment_id: str) -> None:
        del self.deployment_names[deployment_id]
        for run in [run for run in self.runs.values() if run.deployment_id == deployment_id]:
            if run.state.name == "Scheduled":
                self.delete_run(run.id)

    def delete_flow(self, flow_id: str) -> None:
        del self.flow_names[flow_id]
        for deployment in [known for known in self.deployment_names.values() if known.flow_id == flow_id]:
            del self.deployment_names[deployment.id]
        for run in [run for run in self.runs.values() if run.flow_id == flow_id]:
            self.delete_run(run.id)

    # PrefectApi

    async def request(self, endpoint: str) -> None:
        await asyncio.sleep(0)
        self.requests[endpoint] += 1
        self.before_request(endpoint)
        if endpoint in self.broken:
            raise self.broken[endpoint]

    def _records(self, runs: Iterable[ServerRun]) -> list[FlowRun]:
        """Records of the runs with readable rows."""
        readable = []
        for run in runs:
            if run.id in self.unreadable:
                note(run.id)
            else:
                readable.append(run.record())
        return readable

    async def version(self) -> str:
        await self.request("version")
        return "3.8.8"

    async def flow_runs(self, ids: Collection[str]) -> list[FlowRun]:
        await self.request("flow_runs")
        return self._records(run for run_id, run in self.runs.items() if run_id in ids)

    def _finished(self, after: float, before: float | None) -> list[ServerRun]:
        return [
            run
            for run in self.runs.values()
            if run.over and run.end is not None and after <= run.end and (before is None or run.end <= before)
        ]

    async def finished_page(self, after: float, before: float | None, offset: int) -> Page[FlowRun]:
        await self.request("finished_page")
        newest_first = sorted(self._finished(after, before), key=lambda run: run.end or 0.0, reverse=True)
        rows = newest_first[offset : offset + self.page_limit]
        records = self._records(rows)
        return Page(tuple(records), len(rows) < self.page_limit, len(rows) - len(records))

    async def runs_without_end(self, after: float) -> list[FlowRun]:
        await self.request("runs_without_end")
        return [run.record() for run in self.runs.values() if run.over and run.end is None and run.expected >= after]

    async def active_runs(self, *, late: bool = True, most: int | None = None) -> list[FlowRun]:
        excluded = {"Scheduled"} if late else {"Scheduled", "Late"}
        return await self._listed(
            "active_runs", [run for run in self.runs.values() if not run.over and run.state.name not in excluded], most
        )

    async def _listed(self, endpoint: str, runs: Sequence[ServerRun], most: int | None) -> list[FlowRun]:
        """Makes one request per page, and stops at the page that exceeds `most`."""
        shown = runs if most is None else runs[: (most // self.page_limit + 1) * self.page_limit]
        for _ in range(max(-(-len(shown) // self.page_limit), 1)):
            await self.request(endpoint)
        return self._records(shown)

    async def overdue_runs(
        self,
        before: float,
        names: Sequence[str] = ("Scheduled", "Late"),
        *,
        group: RunGroup | None = None,
        most: int | None = None,
    ) -> list[FlowRun]:
        return await self._listed("overdue_runs", self._overdue(before, names, group), most)

    def _overdue(self, before: float, names: Sequence[str], group: RunGroup | None) -> list[ServerRun]:
        waiting = [run for run in self.runs.values() if run.state.name in names and run.expected <= before]
        if group is None:
            return waiting
        deployments, flows = set(group.deployments), set(group.flows)
        if deployments:
            return [run for run in waiting if run.deployment_id in deployments]
        return [run for run in waiting if run.deployment_id is None and run.flow_id in flows]

    async def count_overdue(self, before: float, group: RunGroup | None = None) -> int:
        await self.request("count_overdue")
        return len(self._overdue(before, ("Scheduled", "Late"), group))

    async def longest_overdue(self, before: float, group: RunGroup) -> list[FlowRun]:
        await self.request("longest_overdue")
        waiting = self._overdue(before, ("Scheduled", "Late"), group)
        return self._records(sorted(waiting, key=lambda run: run.expected)[:1])

    async def active_children(self, parent_ids: Iterable[str]) -> set[str]:
        await self.request("active_children")
        parents = set(parent_ids)
        return {run.id for run in self.runs.values() if run.parent in parents and not run.over}

    async def histories(self, run_ids: Sequence[str]) -> Histories:
        histories: dict[str, tuple[State, ...]] = {}
        fault: ApiError | None = None
        for run_id in run_ids:
            try:
                await self.request("histories")
            except ApiError as error:
                fault = fault or error
                continue
            if run_id not in self.refused:
                histories[run_id] = tuple(self.runs[run_id].states) if run_id in self.runs else ()
        refused = {run_id: "answered 500" for run_id in run_ids if run_id in self.refused}
        return Histories(histories, {} if fault else refused, fault)

    async def ended_by_type(self, low: float, high: float, types: Collection[str]) -> dict[str, int]:
        await self.request("ended_by_type")
        counts = Counter(run.state.type for run in self._finished(low, high))
        return {kind: counts[kind] for kind in types}

    async def owner(self, run_id: str) -> tuple[Flow | None, Deployment | None]:
        await self.request("owner")
        run = self.runs.get(run_id)
        if run is None:
            return None, None
        flow, deployment = self.flow_names.get(run.flow_id), self.deployment_names.get(run.deployment_id or "")
        return (
            flow if flow is not None and self._is_answered(flow.id, None) else None,
            deployment if deployment is not None and self._is_answered(deployment.id, None) else None,
        )

    async def flows(self, ids: Collection[str] | None = None) -> dict[str, Flow]:
        await self.request("flows")
        return {identifier: flow for identifier, flow in self.flow_names.items() if self._is_answered(identifier, ids)}

    async def deployments(self, ids: Collection[str] | None = None) -> dict[str, Deployment]:
        await self.request("deployments")
        return {
            identifier: deployment
            for identifier, deployment in self.deployment_names.items()
            if self._is_answered(identifier, ids)
        }

    def _is_answered(self, identifier: str, ids: Collection[str] | None) -> bool:
        if ids is not None and identifier not in ids:
            return False
        if identifier in self.unreadable:
            note(identifier)
            return False
        return True
