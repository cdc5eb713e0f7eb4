"""The model of the Prefect server for months: indexed, because it holds tens of thousands of runs.

Besides runs, it has workers that send heartbeats and poll, slots that runs take, and outages of the API.
"""

from __future__ import annotations

import heapq
import itertools
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from prefect_monitoring.model.records import ConcurrencyLimit, FlowRun, State, TaskRun, Workers, WorkPool, WorkQueue
from prefect_monitoring.prefect_api.errors import ApiError
from prefect_monitoring.prefect_api.logs import LogPage
from unit.fake_details import FakeLogs, FakeTasks
from unit.fake_inventory import FakeInventory
from unit.fake_prefect import FakePrefect, ServerRun

DOWN = ApiError("the API answered 503", "503")
BEAT_SECONDS = 30.0


@dataclass
class MonthRun(ServerRun):
    queue: str = "default"
    by_schedule: bool = False

    def record(self) -> FlowRun:
        return replace(super().record(), work_queue=self.queue, auto_scheduled=self.by_schedule)


class MonthTasks(FakeTasks):
    """Task runs without delay: each is recorded as soon as it ends."""

    def __init__(self, server: Any) -> None:
        super().__init__(server)
        self.ended: list[tuple[float, str, TaskRun]] = []
        self.under_way: set[str] = set()

    def enter(self, run_id: str, name: str, message: str = "", state_type: str = "") -> None:
        super().enter(run_id, name, message, state_type)
        run = self.runs[run_id]
        record = run.record(self.server.now)
        if run.over and record is not None and record.ended_at is not None:
            self.under_way.discard(run_id)
            insort(self.ended, (record.ended_at, run_id, record), key=lambda row: row[:2])
        else:
            self.under_way.add(run_id)

    def _seen(self) -> list[TaskRun]:
        open_ones = (self.runs[run_id].record(self.server.now) for run_id in self.under_way)
        return [record for record in open_ones if record is not None]

    def _ended(self, low: float, high: float | None) -> list[TaskRun]:
        begin = bisect_left(self.ended, low, key=lambda row: row[0])
        end = len(self.ended) if high is None else bisect_right(self.ended, high, key=lambda row: row[0])
        return [record for _, _, record in self.ended[begin:end]]

    async def by_id(self, ids: Collection[str]) -> list[TaskRun]:
        await self.server.request("tasks_by_id")
        found = (self.runs[run_id].record(self.server.now) for run_id in ids if run_id in self.runs)
        return [record for record in found if record is not None]


class MonthLogs(FakeLogs):
    """Log lines, written in order of time and without delay."""

    async def page(self, after: float, before: float | None, offset: int) -> LogPage:
        begin = bisect_left(self.lines, after, key=lambda entry: entry.line.at)
        everything, self.lines = self.lines, self.lines[begin:]
        try:
            return await super().page(after, before, offset)
        finally:
            self.lines = everything


class MonthInventory(FakeInventory):
    """The inventory at the time of the request.

    `types`: pools, `slots`: the limits of some, `down_since`: those without a worker. `unpolled`: queues that no
    worker polls, and since when.
    """

    def __init__(self, server: MonthServer) -> None:
        super().__init__()
        self.server = server
        self.types: dict[str, str] = {}
        self.slots: dict[str, int] = {}
        self.down_since: dict[str, float] = {}
        self.unpolled: dict[tuple[str, str], float] = {}
        self.next_start: Callable[[str, float], float | None] = lambda _deployment, _now: None

    def _answer(self, method: str) -> None:
        if self.server.down:
            raise DOWN
        super()._answer(method)

    async def work_pools(self) -> list[WorkPool]:
        self._answer("work_pools")
        return [
            WorkPool(name, kind, False, name not in self.down_since, self.slots.get(name), self.used(name))
            for name, kind in self.types.items()
        ]

    def used(self, pool: str) -> int:
        return sum(run.pool == pool and run.state.type in {"PENDING", "RUNNING"} for run in self.server.open_runs())

    async def workers_of(self, pools: Sequence[str]) -> tuple[dict[str, Workers], ApiError | None]:
        self._answer("workers_of")
        return {pool: self._workers(pool) for pool in pools}, None

    def _workers(self, pool: str) -> Workers:
        if pool not in self.down_since:
            return Workers(1, 0, self.server.now // BEAT_SECONDS * BEAT_SECONDS)
        since = self.down_since[pool]
        gone = self.server.now - since > 3 * BEAT_SECONDS
        return Workers(int(not gone), int(gone), since)

    async def work_queues(self) -> list[WorkQueue]:
        self._answer("work_queues")
        queues = {(deployment.work_pool, deployment.work_queue) for deployment in self.server.deployment_names.values()}
        return [WorkQueue(pool, name, False, True, None, self._polled(pool, name)) for pool, name in sorted(queues)]

    def _polled(self, pool: str, queue: str) -> float:
        stopped = min(self.down_since.get(pool, self.server.now), self.unpolled.get((pool, queue), self.server.now))
        return stopped // 15 * 15

    async def concurrency_limits(self) -> list[ConcurrencyLimit]:
        self._answer("concurrency_limits")
        return [replace(limit, slots_used=self._held(limit)) for limit in self.limits]

    def _held(self, limit: ConcurrencyLimit) -> int:
        """Slots of a deployment's limit that its pending and running runs take."""
        mine = (run for run in self.server.open_runs() if run.deployment_id == limit.deployment_id)
        return sum(run.state.type in {"PENDING", "RUNNING"} for run in mine)

    async def next_starts(self, deployment_ids: Collection[str], now: float) -> dict[str, float]:
        self._answer("next_starts")
        found = {deployment_id: self.next_start(deployment_id, now) for deployment_id in deployment_ids}
        return {deployment_id: at for deployment_id, at in found.items() if at is not None}


class MonthServer(FakePrefect):
    """`later` plans an event; `run_until` executes the events, each at its time. `changes` counts them."""

    def __init__(self, now: float) -> None:
        super().__init__(now)
        self.down = False
        self.changes = 0
        self.unfinished: dict[str, MonthRun] = {}
        self.finished: list[tuple[float, str]] = []
        self.tasks = MonthTasks(self)
        self.logs = MonthLogs(self)
        self.inventory = MonthInventory(self)
        self.before_request = self._refuse
        self._plans: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = itertools.count()

    def later(self, at: float, action: Callable[[], object]) -> None:
        heapq.heappush(self._plans, (at, next(self._numbers), action))

    def run_until(self, until: float) -> None:
        while self._plans and self._plans[0][0] <= until:
            at, _, action = heapq.heappop(self._plans)
            self.now = max(self.now, at)
            self.changes += 1
            action()
        self.now = max(self.now, until)

    def _refuse(self, _endpoint: str) -> None:
        if self.down:
            raise DOWN

    def add_run(self, deployment_id: str, at: float, retries: int, *, by_schedule: bool = True) -> str:
        deployment = self.deployment_names[deployment_id]
        pool, queue = deployment.work_pool, deployment.work_queue
        run_id = self.new_id()
        run = MonthRun(
            *(run_id, f"run-{self._ids}", deployment.flow_id, deployment_id, pool, (), retries, at),
            queue=queue,
            by_schedule=by_schedule,
        )
        self._take_up(run)
        return run_id

    def flow_called(self, name: str) -> str:
        """The id of the flow of this name; creates it if necessary."""
        known = {flow.name: flow.id for flow in self.flow_names.values()}
        return known.get(name) or self.add_flow(name)

    def add_run_without_deployment(self, flow: str, parent: str | None = None) -> str:
        """A run of a script, or with `parent` of a subflow."""
        run_id, flow_id = self.new_id(), self.flow_called(flow)
        self._take_up(MonthRun(run_id, f"run-{self._ids}", flow_id, None, "", (), 0, self.now, parent=parent))
        return run_id

    def _take_up(self, run: MonthRun) -> None:
        self.runs[run.id] = self.unfinished[run.id] = run
        run.states.append(State(self.new_id(), "SCHEDULED", "Scheduled", self.now, ""))

    def open_runs(self) -> Iterable[MonthRun]:
        return self.unfinished.values()

    def _enter(self, run: ServerRun, state: State) -> None:
        before = run.end
        super()._enter(run, state)
        if before is not None and before != run.end:
            self.finished.remove((before, run.id))
        if run.end is not None and before != run.end:
            insort(self.finished, (run.end, run.id))
        if run.over:
            self.unfinished.pop(run.id, None)
        else:
            self.unfinished[run.id] = self.runs[run.id]  # type: ignore[assignment] # every run here is a MonthRun

    def _finished(self, after: float, before: float | None) -> list[ServerRun]:
        begin = bisect_left(self.finished, (after, ""))
        end = len(self.finished) if before is None else bisect_right(self.finished, (before, "~"))
        return [self.runs[run_id] for _, run_id in self.finished[begin:end]]

    async def flow_runs(self, ids: Collection[str]) -> list[FlowRun]:
        await self.request("flow_runs")
        return [self.runs[run_id].record() for run_id in ids if run_id in self.runs]

    async def runs_without_end(self, after: float) -> list[FlowRun]:
        """Always empty: every terminal state here sets the end."""
        await self.request("runs_without_end")
        return []

    async def active_runs(self) -> list[FlowRun]:
        await self.request("active_runs")
        return [run.record() for run in self.open_runs() if run.state.name != "Scheduled"]

    async def active_children(self, parent_ids: Iterable[str]) -> set[str]:
        await self.request("active_children")
        parents = set(parent_ids)
        return {run.id for run in self.open_runs() if run.parent in parents}

    def forget(self, run_id: str) -> None:
        """Deletes a finished run."""
        self.finished.remove((self.runs[run_id].end or 0.0, run_id))
        self.delete_run(run_id)
