"""The model of the Prefect server for months: indexed, because it holds tens of thousands of runs.

Beside runs it has workers that beat and poll, slots that runs take, and outages in which nothing answers.
"""

from __future__ import annotations

import heapq
import itertools
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from months.details import DOWN, MonthActions, MonthEvents, MonthLogs, MonthTasks
from months.inventory import MonthInventory
from prefect_monitoring.model.records import FlowRun, State
from prefect_monitoring.prefect_api.flow_runs import RunGroup
from unit.fake_prefect import FakePrefect, ServerRun


@dataclass
class MonthRun(ServerRun):
    queue: str = "default"
    by_schedule: bool = False

    def record(self) -> FlowRun:
        return replace(super().record(), work_queue=self.queue, auto_scheduled=self.by_schedule)


class MonthServer(FakePrefect):
    """`later` plans an event; `run_until` lets all of them happen, each at its own instant. `changes` counts them.

    `down`: it answers nobody; `is_cut_off`: it is well, but the exporter that asks now cannot reach it.
    """

    inventory: MonthInventory
    events: MonthEvents
    actions: MonthActions

    def __init__(self, now: float) -> None:
        super().__init__(now)
        self.down = False
        self.is_cut_off = False
        self.changes = 0
        self.unfinished: dict[str, MonthRun] = {}
        self.finished: list[tuple[float, str]] = []
        self.tasks = MonthTasks(self)
        self.logs = MonthLogs(self)
        self.inventory = MonthInventory(self)
        self.events = MonthEvents(self)
        self.actions = MonthActions(self)
        self.actions.after_write = self._note_change
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

    def _note_change(self) -> None:
        self.changes += 1

    @property
    def has_beats(self) -> bool:
        """Whether a run is under way that sends heartbeats, or did."""
        return any(run in self.events.sent for run in self.unfinished)

    @property
    def silent(self) -> bool:
        """Whether the exporter that asks gets no answer."""
        return self.down or self.is_cut_off

    def _refuse(self, _endpoint: str) -> None:
        if self.silent:
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
        """The id of the flow of this name, which is there from now on."""
        known = {flow.name: flow.id for flow in self.flow_names.values()}
        return known.get(name) or self.add_flow(name)

    def add_run_without_deployment(self, flow: str, parent: str | None = None) -> str:
        """A script's run, or with a `parent` a subflow's."""
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
        return self._records(self.runs[one] for one in ids if one in self.runs)

    async def runs_without_end(self, after: float) -> list[FlowRun]:
        """None: every state that ends a run here notes the end."""
        await self.request("runs_without_end")
        return []

    async def active_runs(self, *, late: bool = True, most: int | None = None) -> list[FlowRun]:
        others = {"Scheduled"} if late else {"Scheduled", "Late"}
        return await self._listed(
            "active_runs", [run for run in self.open_runs() if run.state.name not in others], most
        )

    def _overdue(self, before: float, names: Sequence[str], group: RunGroup | None) -> list[ServerRun]:
        """Only of all together: there are never so many that they are counted in groups."""
        return [run for run in self.open_runs() if run.state.name in names and run.expected <= before]

    async def active_children(self, parent_ids: Iterable[str]) -> set[str]:
        await self.request("active_children")
        parents = set(parent_ids)
        return {run.id for run in self.open_runs() if run.parent in parents}

    def forget(self, run_id: str) -> None:
        """Deletes a run that is over."""
        self.finished.remove((self.runs[run_id].end or 0.0, run_id))
        self.delete_run(run_id)
