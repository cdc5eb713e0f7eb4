"""A model of the Prefect server, as far as flow runs go: every rule here was read in Prefect 3.8's orchestration.

It answers what `PrefectApi` answers, with the same signatures, and remembers what really happened: that is the truth
that the exporter has to arrive at. Time stands still unless a test moves `now`.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from prefect_monitoring.analysis.failure_causes import cause_of
from prefect_monitoring.prefect_api import Page
from prefect_monitoring.prefect_http import ApiError
from prefect_monitoring.records import Deployment, Flow, FlowRun, Pair, State

TERMINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
BAD = {"FAILED", "CRASHED"}
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
# 2026-03-02 was a Monday; noon, so that hour and day edges are where a test puts them.
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

    @property
    def state(self) -> State:
        return self.states[-1]

    @property
    def over(self) -> bool:
        return self.state.type in TERMINAL

    @property
    def terminal_states(self) -> list[State]:
        return [state for state in self.states if state.type in TERMINAL]

    @property
    def first_running(self) -> float | None:
        return next((state.at for state in self.states if state.type == "RUNNING"), None)

    def completed_durations(self) -> Iterator[tuple[State, float | None]]:
        """Each completed outcome with its seconds since the first Running after the terminal state before it."""
        began: float | None = None
        for state in self.states:
            if state.type == "RUNNING" and began is None:
                began = state.at
            elif state.type in TERMINAL:
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
        )


class FakePrefect:
    def __init__(self, now: float = MONDAY_NOON, page_limit: int = 200) -> None:
        self.now = now
        self.page_limit = page_limit
        self.runs: dict[str, ServerRun] = {}
        self.deleted: dict[str, ServerRun] = {}
        self.flow_names: dict[str, Flow] = {}
        self.deployment_names: dict[str, Deployment] = {}
        self.requests: Counter[str] = Counter()
        self.before_request: Callable[[str], None] = lambda _endpoint: None
        self.broken: dict[str, ApiError] = {}
        self._ids = 0

    # What users and workers do

    def _new_id(self) -> str:
        self._ids += 1
        return str(UUID(int=self._ids))

    def clock(self) -> float:
        return self.now

    def add_flow(self, name: str) -> str:
        flow = Flow(self._new_id(), name)
        self.flow_names[flow.id] = flow
        return flow.id

    def add_deployment(
        self, name: str, flow_id: str, *, pool: str = "process", queue: str = "default", tags: tuple[str, ...] = ()
    ) -> str:
        one = Deployment(self._new_id(), name, flow_id, pool, queue, tags)
        self.deployment_names[one.id] = one
        return one.id

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
        run_id = self._new_id()
        run = ServerRun(run_id, f"run-{self._ids}", flow_id, deployment_id, pool, tags, retries, self.now + in_seconds)
        self.runs[run_id] = run
        run.states.append(State(self._new_id(), "SCHEDULED", "Scheduled", self.now, ""))
        return run_id

    def set_state(
        self, run_id: str, state_type: str, name: str = "", message: str = "", *, force: bool = False
    ) -> bool:
        """Proposes a state, as workers, the UI and the API do; whether the run changed."""
        run = self.runs[run_id]
        before = run.state.type
        name = name or NAMES[state_type]
        if not force:
            if before in TERMINAL and not self._may_leave(run, state_type):
                return False
            if before == "PAUSED" and state_type in {"RUNNING", "SCHEDULED"}:
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
        self._enter(run, State(self._new_id(), state_type, name, self.now, message))
        return True

    def _may_leave(self, run: ServerRun, state_type: str) -> bool:
        """HandleFlowTerminalStateTransitions."""
        if state_type in {"CANCELLING", "PAUSED", "CRASHED"}:
            return False
        if state_type == "SCHEDULED" and run.deployment_id is None:
            return False
        if state_type not in TERMINAL:
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
        if before in TERMINAL and state.type not in TERMINAL:
            run.end = None
        if state.type in TERMINAL and run.end is None:
            run.start = state.at if run.start is None else run.start
            run.end = state.at
        if state.type == "RUNNING" or state.type in TERMINAL:
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
        """What the UI's Retry button sends."""
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
        for deployment in [one for one in self.deployment_names.values() if one.flow_id == flow_id]:
            del self.deployment_names[deployment.id]
        for run in [run for run in self.runs.values() if run.flow_id == flow_id]:
            self.delete_run(run.id)

    # What PrefectApi answers

    async def _request(self, endpoint: str) -> None:
        await asyncio.sleep(0)
        self.requests[endpoint] += 1
        self.before_request(endpoint)
        if endpoint in self.broken:
            raise self.broken[endpoint]

    async def version(self) -> str:
        await self._request("version")
        return "3.8.8"

    def _finished(self, after: float, before: float | None) -> list[ServerRun]:
        return [
            run
            for run in self.runs.values()
            if run.over and run.end is not None and after <= run.end and (before is None or run.end <= before)
        ]

    async def finished_page(self, after: float, before: float | None, offset: int) -> Page:
        await self._request("finished_page")
        newest_first = sorted(self._finished(after, before), key=lambda run: run.end or 0.0, reverse=True)
        rows = newest_first[offset : offset + self.page_limit]
        return Page(tuple(run.record() for run in rows), len(rows) < self.page_limit)

    async def active_runs(self) -> list[FlowRun]:
        await self._request("active_runs")
        return [run.record() for run in self.runs.values() if not run.over and run.state.name != "Scheduled"]

    async def histories(self, run_ids: Sequence[str]) -> tuple[dict[str, tuple[State, ...]], ApiError | None]:
        found: dict[str, tuple[State, ...]] = {}
        fault: ApiError | None = None
        for run_id in run_ids:
            try:
                await self._request("histories")
            except ApiError as error:
                fault = fault or error
                continue
            found[run_id] = tuple(self.runs[run_id].states) if run_id in self.runs else ()
        return found, fault

    async def ended_by_type(self, low: float, high: float, types: Collection[str]) -> dict[str, int]:
        await self._request("ended_by_type")
        counts = Counter(run.state.type for run in self._finished(low, high))
        return {kind: counts[kind] for kind in types}

    async def flows(self, ids: Collection[str] | None = None) -> dict[str, Flow]:
        await self._request("flows")
        return {one.id: one for one in self.flow_names.values() if ids is None or one.id in ids}

    async def deployments(self, ids: Collection[str] | None = None) -> dict[str, Deployment]:
        await self._request("deployments")
        return {one.id: one for one in self.deployment_names.values() if ids is None or one.id in ids}


@dataclass
class Truth:
    """What the ledger must hold once it has read everything; `names` outlive what was deleted."""

    fake: FakePrefect
    flows: dict[str, str]
    deployments: dict[str, str]

    def pair(self, run: ServerRun) -> Pair:
        return Pair(self.flows[run.flow_id], self.deployments[run.deployment_id] if run.deployment_id else "")

    def all_runs(self) -> list[ServerRun]:
        return [*self.fake.runs.values(), *self.fake.deleted.values()]

    def outcomes(self) -> Counter[tuple[Pair, str]]:
        return Counter((self.pair(run), state.label) for run in self.all_runs() for state in run.terminal_states)

    def failures(self) -> Counter[tuple[Pair, str]]:
        return Counter(
            (self.pair(run), cause_of(state.message))
            for run in self.all_runs()
            for state in run.terminal_states
            if state.type in BAD
        )

    def retries(self) -> Counter[Pair]:
        found: Counter[Pair] = Counter()
        for run in self.all_runs():
            found[self.pair(run)] += max(run.run_count - 1, 0)
        return +found

    def start_delays(self) -> dict[Pair, list[float]]:
        found: defaultdict[Pair, list[float]] = defaultdict(list)
        for run in self.all_runs():
            if run.run_count and run.first_running is not None:
                found[self.pair(run)].append(max(run.first_running - run.expected, 0.0))
        return found

    def durations(self) -> dict[Pair, list[float]]:
        found: defaultdict[Pair, list[float]] = defaultdict(list)
        for run in self.all_runs():
            found[self.pair(run)] += [seconds for _, seconds in run.completed_durations() if seconds is not None]
        return {pair: seconds for pair, seconds in found.items() if seconds}

    def tallies(self, grain: int) -> dict[tuple[Pair, int], tuple[int, int]]:
        """(good, bad) runs by their last state, per pair and hour or day of their end."""
        found: defaultdict[tuple[Pair, int], list[int]] = defaultdict(lambda: [0, 0])
        for run in self.all_runs():
            if run.over and run.end is not None and run.state.type != "CANCELLED":
                found[self.pair(run), int(run.end // grain) * grain][run.state.type != "COMPLETED"] += 1
        return {key: (good, bad) for key, (good, bad) in found.items()}

    def consecutive_failures(self) -> Counter[Pair]:
        """Deleted runs are still what happened."""
        found: Counter[Pair] = Counter()
        for pair in {self.pair(run) for run in self.all_runs()}:
            mine = [run for run in self.all_runs() if self.pair(run) == pair and run.over]
            last_good = max((run.end or 0.0 for run in mine if run.state.type == "COMPLETED"), default=0.0)
            found[pair] = sum(run.state.type in BAD and (run.end or 0.0) > last_good for run in mine)
        return +found
