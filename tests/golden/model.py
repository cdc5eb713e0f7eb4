"""Flow runs and task runs as the Prefect API returns them, derived from their state histories.

`run_count`, `start_time`, `end_time` and `total_run_time` follow the rules of Prefect 3's orchestration.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import NAMESPACE_URL, uuid5

TERMINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
# State names that are not their type with a capital letter; the last ones are custom names.
TYPES = {
    "Late": "SCHEDULED",
    "AwaitingRetry": "SCHEDULED",
    "AwaitingConcurrencySlot": "SCHEDULED",
    "Resuming": "SCHEDULED",
    "Submitting": "PENDING",
    "InfrastructurePending": "PENDING",
    "Retrying": "RUNNING",
    "Suspended": "PAUSED",
    "Cached": "COMPLETED",
    "RolledBack": "COMPLETED",
    "Skipped": "COMPLETED",
    "TimedOut": "FAILED",
    "NothingToDo": "COMPLETED",
    "BadQuality": "FAILED",
}

Step = tuple[str, float] | tuple[str, float, str]
"""The name of a state, the seconds since the state before, and its message."""
Row = dict[str, Any]


def identity(*names: object) -> str:
    """An id that is the same in every run of the tests."""
    return str(uuid5(NAMESPACE_URL, "/".join(map(str, names))))


def iso(at: float | None) -> str | None:
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds")


@dataclass(frozen=True)
class State:
    id: str
    type: str
    name: str
    at: float
    message: str

    def row(self) -> Row:
        return {"id": self.id, "type": self.type, "name": self.name, "timestamp": iso(self.at), "message": self.message}


def states_of(owner: str, begun_at: float, steps: Sequence[Step]) -> tuple[State, ...]:
    found, at = [], begun_at
    for place, (name, seconds, *message) in enumerate(steps):
        at += seconds
        kind = TYPES.get(name, name.upper())
        found.append(State(identity(owner, "state", place), kind, name, at, message[0] if message else ""))
    return tuple(found)


@dataclass
class _Account:
    """The totals that the server keeps of a run besides its states."""

    run_count: int = 0
    start: float | None = None
    end: float | None = None
    run_time: float = 0.0
    retry_type: str | None = None
    resuming: bool = False

    def enter(self, before: State | None, state: State) -> None:
        was_over = before is not None and before.type in TERMINAL
        if before is not None and before.type == "RUNNING":
            self.run_time += state.at - before.at
        if before is not None and before.type == "PAUSED":
            self.resuming = True
        if state.name == "AwaitingRetry":
            self.retry_type = "reschedule" if was_over else "in_process"
        if was_over and state.type not in TERMINAL:
            self.end = None
        if state.type == "RUNNING":
            self.run_count += not self.resuming
            self.resuming = False
        if state.type == "RUNNING" or state.type in TERMINAL:
            self.start = state.at if self.start is None else self.start
        if state.type in TERMINAL and self.end is None:
            self.end = state.at


@dataclass(frozen=True, kw_only=True)
class Run:
    """The common part of flow runs and task runs. The server does not return it from `deleted_at` on."""

    id: str
    name: str
    states: tuple[State, ...]
    expected_at: float
    deleted_at: float = float("inf")

    def states_at(self, now: float) -> list[State]:
        return [state for state in self.states if state.at <= now < self.deleted_at]

    def row(self, now: float) -> Row | None:
        """The run at `now`; None before its first state and once it is deleted."""
        states = self.states_at(now)
        if not states:
            return None
        account = _Account()
        for before, state in zip([None, *states], states, strict=False):
            account.enter(before, state)
        state = states[-1]
        return {
            "id": self.id,
            "created": iso(states[0].at),
            "name": self.name,
            "state": state.row(),
            "state_id": state.id,
            "state_type": state.type,
            "state_name": state.name,
            "run_count": account.run_count,
            "expected_start_time": iso(self.expected_at),
            "start_time": iso(account.start),
            "end_time": iso(account.end),
            "total_run_time": account.run_time,
            **self.own(state, account),
        }

    @property
    def is_over(self) -> bool:
        return self.states[-1].type in TERMINAL

    def own(self, state: State, account: _Account) -> Row:
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class FlowRun(Run):
    """`due_at`: when it should continue, if that differs from the expected start."""

    flow_id: str
    deployment_id: str | None = None
    pool: str | None = None
    queue: str | None = None
    by_schedule: bool = False
    parent: FlowRun | None = None
    due_at: float | None = None

    def own(self, state: State, account: _Account) -> Row:
        goes_on_at = self.expected_at if state.name == "Scheduled" or self.due_at is None else self.due_at
        waits_until = goes_on_at if state.type == "SCHEDULED" else None
        return {
            "flow_id": self.flow_id,
            "deployment_id": self.deployment_id,
            "work_pool_name": self.pool,
            "work_queue_name": self.queue,
            "tags": ["auto-scheduled"] if self.by_schedule else [],
            "auto_scheduled": self.by_schedule,
            "empirical_policy": {"retry_type": account.retry_type},
            "next_scheduled_start_time": iso(waits_until),
            "parent_task_run_id": identity(self.id, "placeholder") if self.parent else None,
            "_parent_flow_run_id": self.parent.id if self.parent else None,
        }


@dataclass(frozen=True, kw_only=True)
class TaskRun(Run):
    """`attempt`: of the flow run that made it. `holds_subflow`: it is the placeholder of a subflow's run."""

    task_key: str
    dynamic_key: str
    flow_run: FlowRun | None = None
    attempt: int = 1
    holds_subflow: bool = False

    def own(self, state: State, account: _Account) -> Row:
        return {
            "task_key": self.task_key,
            "dynamic_key": self.dynamic_key,
            "flow_run_id": self.flow_run.id if self.flow_run else None,
            "flow_run_run_count": self.attempt if self.flow_run else 0,
            "_subflow_runs": [self.id] if self.holds_subflow else [],
        }


@dataclass(frozen=True)
class Thing:
    """An object whose row changes at given instants; the row is None once it is deleted."""

    rows: tuple[tuple[float, Row | None], ...] = field(default_factory=tuple)

    def row(self, now: float) -> Row | None:
        return next((row for since, row in reversed(self.rows) if since <= now), None)
