"""Task runs and log lines of the model of the server, with the interfaces of `TaskApi` and `LogApi`.

A task run's states are set by its own process and written by a recorder that may be far behind; log lines arrive in
batches. So both become visible some time after they happened.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from prefect_monitoring.analysis.metric_lines import FAILURE_PHRASE, MARK
from prefect_monitoring.model.records import LogLine, State, TaskRun
from prefect_monitoring.prefect_api.errors import ApiError
from prefect_monitoring.prefect_api.logs import LogPage
from prefect_monitoring.prefect_api.pagination import Page
from prefect_monitoring.prefect_api.state_history import Histories
from prefect_monitoring.prefect_api.unreadable import UnreadableRow, collected

TICK = 1e-6
TYPES = {
    "Pending": "PENDING",
    "Running": "RUNNING",
    "AwaitingRetry": "SCHEDULED",
    "Retrying": "RUNNING",
    "Completed": "COMPLETED",
    "Cached": "COMPLETED",
    "RolledBack": "COMPLETED",
    "Failed": "FAILED",
    "TimedOut": "FAILED",
    "Crashed": "CRASHED",
    "Cancelled": "CANCELLED",
}


class Server(Protocol):
    now: float
    page_limit: int
    unreadable: set[str]
    refused: set[str]

    @property
    def runs(self) -> Mapping[str, object]: ...
    def new_id(self) -> str: ...
    async def request(self, endpoint: str) -> None: ...


def note(identifier: str, after: float | None = None) -> None:
    """Does what decoding a row does when it fails."""
    noted = collected()
    if noted is None:
        raise ApiError("the API answered rows of another shape than Prefect's", "invalid_json")
    noted[identifier] = UnreadableRow(identifier, "KeyError: 'type'", after)


@dataclass
class ServerTaskRun:
    """`recorded`: when the run becomes visible in each of `states`; `written`: when that state with its message does.

    `saved`: the errors of the attempts that were retried.
    """

    id: str
    task: str
    flow_run_id: str | None
    flow_run_attempt: int
    is_placeholder: bool = False
    states: list[State] = field(default_factory=list)
    recorded: list[float] = field(default_factory=list)
    written: list[float] = field(default_factory=list)
    saved: list[str] = field(default_factory=list)

    @property
    def over(self) -> bool:
        return self.states[-1].is_terminal

    @property
    def run_time(self) -> float:
        return _run_time(self.states)

    @property
    def attempts(self) -> int:
        return sum(state.type == "RUNNING" for state in self.states)

    def seen(self, now: float) -> list[State]:
        return self.states[: bisect_right(self.recorded, now)]

    def history(self, now: float) -> tuple[State, ...]:
        return tuple(self.states[: bisect_right(self.written, now)])

    def record(self, now: float) -> TaskRun | None:
        """The visible run; its end is that of the first terminal state, whatever follows."""
        states = self.seen(now)
        if not states:
            return None
        is_written = self.written[len(states) - 1] <= now
        running = [state.at for state in states if state.type == "RUNNING"]
        ends = [state.at for state in states if state.is_terminal]
        return TaskRun(
            id=self.id,
            task=self.task,
            flow_run_id=self.flow_run_id,
            flow_run_attempt=self.flow_run_attempt,
            state=states[-1] if is_written else replace(states[-1], message=""),
            attempts=len(running),
            started_at=running[0] if running else None,
            ended_at=ends[0] if ends and running else None,
            run_time=_run_time(states),
            message_known=is_written,
        )


def _run_time(states: Sequence[State]) -> float:
    return sum(after.at - state.at for state, after in itertools.pairwise(states) if state.type == "RUNNING")


class FakeTasks:
    """`lag`: how far the recorder is behind from now on; `state_lag`: how much later it writes the states.

    `filters_ends`: False for servers before 3.6.22.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.lag = 0.0
        self.state_lag = 0.0
        self.filters_ends = True
        self.runs: dict[str, ServerTaskRun] = {}

    # Flows

    def begin(self, task: str, flow_run_id: str | None, *, attempt: int = 1, is_placeholder: bool = False) -> str:
        run = ServerTaskRun(self.server.new_id(), task, flow_run_id, attempt, is_placeholder)
        self.runs[run.id] = run
        self.enter(run.id, "Pending")
        self.enter(run.id, "Running")
        return run.id

    def enter(self, run_id: str, name: str, message: str = "", state_type: str = "") -> None:
        run = self.runs[run_id]
        if run.states and self.server.now <= run.states[-1].at:
            self.server.now = run.states[-1].at + TICK
        state = State(self.server.new_id(), state_type or TYPES[name], name, self.server.now, message)
        run.states.append(state)
        run.recorded.append(max(self.server.now + self.lag, *run.recorded, 0.0))
        run.written.append(max(run.recorded[-1] + self.state_lag, *run.written, 0.0))

    def finish(self, run_id: str, after: float = 0.0, name: str = "Completed", message: str = "") -> None:
        self.server.now += after
        self.enter(run_id, name, message)

    def run(self, task: str, flow_run_id: str | None, seconds: float = 1.0, name: str = "Completed") -> str:
        run_id = self.begin(task, flow_run_id)
        self.finish(run_id, seconds, name)
        return run_id

    def fail_and_retry(
        self, run_id: str, logs: FakeLogs, error: str = "ValueError('boom')", delay: float = 0.0
    ) -> None:
        """The error of the failed attempt appears only in a log line."""
        run = self.runs[run_id]
        when = f"{delay:g} second(s) from now" if delay else "immediately"
        attempt = len(run.saved) + 1
        line = f"{FAILURE_PHRASE} exception: {error} - Retry {attempt}/{attempt + 1} will start {when}"
        logs.write(line, run.flow_run_id, run_id)
        run.saved.append(error)
        if delay:
            self.enter(run_id, "AwaitingRetry")
            self.server.now += delay
        self.enter(run_id, "Retrying")

    def roll_back(self, run_id: str) -> None:
        self.enter(run_id, "RolledBack", "Task rolled back as part of transaction")

    # TaskApi

    def _seen(self) -> list[TaskRun]:
        """The visible task runs; those of a deleted flow run are deleted with it."""
        there = [run for run in self.runs.values() if run.flow_run_id is None or run.flow_run_id in self.server.runs]
        records = (run.record(self.server.now) for run in there if not run.is_placeholder)
        return [record for record in records if record is not None]

    def _ended(self, low: float, high: float | None) -> list[TaskRun]:
        return [
            run
            for run in self._seen()
            if run.state.is_terminal
            and run.ended_at is not None
            and low <= run.ended_at
            and (high is None or run.ended_at <= high)
        ]

    async def finished_page(self, after: float, before: float | None, offset: int) -> Page[TaskRun]:
        await self.server.request("task_page")
        newest_first = sorted(self._ended(after, before), key=lambda run: run.ended_at or 0.0, reverse=True)
        rows = newest_first[offset : offset + self.server.page_limit]
        records = self._readable(rows)
        return Page(tuple(records), len(rows) < self.server.page_limit, len(rows) - len(records))

    def _readable(self, runs: Iterable[TaskRun]) -> list[TaskRun]:
        readable = []
        for run in runs:
            if run.id in self.server.unreadable:
                note(run.id)
            else:
                readable.append(run)
        return readable

    async def unfinished(self, flow_run_ids: Collection[str]) -> list[TaskRun]:
        await self.server.request("tasks_unfinished")
        return [run for run in self._seen() if run.flow_run_id in flow_run_ids and not run.state.is_terminal]

    async def by_id(self, ids: Collection[str]) -> list[TaskRun]:
        await self.server.request("tasks_by_id")
        return self._readable(run for run in self._seen() if run.id in ids)

    async def count(self, low: float, high: float) -> int:
        await self.server.request("task_count")
        return len(self._ended(low, high))

    async def ended_by_kind(self, low: float, high: float, kinds: Collection[str]) -> dict[str, int]:
        await self.server.request("tasks_by_kind")
        counts = Counter(run.kind for run in self._ended(low, high))
        return {kind: counts[kind] for kind in kinds}

    async def histories(self, run_ids: Sequence[str]) -> Histories:
        histories: dict[str, tuple[State, ...]] = {}
        fault: ApiError | None = None
        for run_id in run_ids:
            try:
                await self.server.request("task_histories")
            except ApiError as error:
                fault = fault or error
                continue
            if run_id not in self.server.refused:
                histories[run_id] = self.runs[run_id].history(self.server.now)
        refused = {run_id: "answered 500" for run_id in run_ids if run_id in self.server.refused}
        return Histories(histories, {} if fault else refused, fault)


@dataclass(frozen=True)
class EmittedValue:
    """The content of a METRIC line, for the expected totals."""

    name: str
    value: float
    labels: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class ServerLine:
    line: LogLine
    arrives_at: float
    emitted: EmittedValue | None


class FakeLogs:
    """`delay`: how late lines arrive from now on. `can_search`: whether the server supports text search."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.delay = 0.0
        self.can_search = True
        self.lines: list[ServerLine] = []

    # Flows

    def write(
        self,
        message: str,
        flow_run_id: str | None = None,
        task_run_id: str | None = None,
        *,
        at: float | None = None,
        emitted: EmittedValue | None = None,
    ) -> str:
        written = self.server.now if at is None else at
        line = LogLine(self.server.new_id(), written, message, flow_run_id, task_run_id)
        self.lines.append(ServerLine(line, self.server.now + self.delay, emitted))
        return line.id

    def emit(
        self,
        name: str,
        value: float,
        flow_run_id: str | None = None,
        task_run_id: str | None = None,
        *,
        at: float | None = None,
        **labels: str,
    ) -> str:
        """Writes a METRIC line."""
        inside = ",".join(f'{label}="{text}"' for label, text in labels.items())
        message = f"{MARK} {name}{'{' + inside + '}' if inside else ''}={value!r}"
        emitted = EmittedValue(name, value, tuple(sorted(labels.items())))
        return self.write(message, flow_run_id, task_run_id, at=at, emitted=emitted)

    # LogApi

    async def page(self, after: float, before: float | None, offset: int) -> LogPage:
        await self.server.request("log_page")
        here = [sent.line for sent in self.lines if sent.arrives_at <= self.server.now]
        inside = [line for line in here if after <= line.at and (before is None or line.at <= before)]
        searched = [line for line in inside if not self.can_search or _is_wanted(line)]
        rows = sorted(searched, key=lambda line: (line.at, line.id))[offset : offset + self.server.page_limit]
        last = rows[-1].at if rows else None
        wanted = [line for line in rows if _is_wanted(line)]
        for line in wanted:
            if line.id in self.server.unreadable:
                note(line.id, after)
        hits = tuple(line for line in wanted if line.id not in self.server.unreadable)
        return LogPage(hits, len(rows), last, len(rows) < self.server.page_limit)


def _is_wanted(line: LogLine) -> bool:
    return MARK in line.message or FAILURE_PHRASE in line.message
