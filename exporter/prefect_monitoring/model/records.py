"""Records of the Prefect API as frozen values.

Instants are seconds since the epoch, UTC, exact to the microsecond that Prefect stores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

TERMINAL_TYPES: Final = frozenset({"COMPLETED", "FAILED", "CRASHED", "CANCELLED"})
ROLLED_BACK: Final = "RolledBack"
CACHED: Final = "Cached"
BAD_TYPES: Final = frozenset({"FAILED", "CRASHED"})

# Prefect's own state names (prefect/states.py and the orchestration rules), under the type that has them. Any other
# name is shown as its type: user-chosen names are unbounded, a label must not be, and no label belongs to two types.
_STATE_LABELS: Final[Mapping[str, Mapping[str, str]]] = {
    "SCHEDULED": {
        "Scheduled": "scheduled",
        "Late": "late",
        "Resuming": "resuming",
        "AwaitingRetry": "awaiting_retry",
        "AwaitingConcurrencySlot": "awaiting_concurrency_slot",
    },
    "PENDING": {
        "Pending": "pending",
        "Submitting": "submitting",
        "InfrastructurePending": "infrastructure_pending",
    },
    "RUNNING": {"Running": "running", "Retrying": "retrying"},
    "PAUSED": {"Paused": "paused", "Suspended": "suspended"},
    "CANCELLING": {"Cancelling": "cancelling"},
    "CANCELLED": {"Cancelled": "cancelled"},
    "COMPLETED": {
        "Completed": "completed",
        "Cached": "cached",
        "RolledBack": "rolled_back",
        "Skipped": "skipped",
    },
    "FAILED": {"Failed": "failed", "TimedOut": "timed_out"},
    "CRASHED": {"Crashed": "crashed"},
}


def labels_of(*types: str) -> tuple[str, ...]:
    """The labels that states of these types can have."""
    return tuple(label for state_type in types for label in _STATE_LABELS[state_type].values())


COMPLETED_LABELS: Final = labels_of("COMPLETED")


@dataclass(frozen=True, slots=True)
class State:
    """One state of a run. `type` is Prefect's state type in capitals, `at` when it was entered."""

    id: str
    type: str
    name: str
    at: float
    message: str

    @property
    def is_terminal(self) -> bool:
        return self.type in TERMINAL_TYPES

    @property
    def label(self) -> str:
        """The state as a label value: Prefect's name in snake case, or the type for any other name."""
        return _STATE_LABELS.get(self.type, {}).get(self.name) or self.type.lower()


@dataclass(frozen=True, slots=True)
class FlowRun:
    """A flow run as `/flow_runs/filter` shows it.

    `started_at` is the first start ever, also after a re-run. `attempts` counts entries into Running.
    `rescheduled` is true when the run was set back to Scheduled after a terminal state. `run_time` is the total of
    seconds that it was Running. `is_subflow`: a task run of another flow run started it. `scheduled_at` is when a
    waiting run is to start or resume; `expected_at` stays that of the first start, also when a retry is due.
    `ran_before`: seconds that a Running run was already Running before its present attempt, since its last terminal
    state; a page does not show them.
    """

    id: str
    name: str
    flow_id: str
    deployment_id: str | None
    work_pool: str
    tags: tuple[str, ...]
    state: State
    attempts: int
    rescheduled: bool
    expected_at: float | None
    started_at: float | None
    ended_at: float | None
    run_time: float | None = None
    work_queue: str = ""
    auto_scheduled: bool = False
    is_subflow: bool = False
    scheduled_at: float | None = None
    ran_before: float = 0.0

    @property
    def kind(self) -> str:
        """The state type, by which reconciliation compares finished runs."""
        return self.state.type

    @property
    def due_at(self) -> float | None:
        """When it is to start: the latest schedule, which a manual retry may have moved."""
        known = [at for at in (self.expected_at, self.scheduled_at) if at is not None]
        return max(known, default=None)


@dataclass(frozen=True, slots=True)
class TaskRun:
    """A task run as `/task_runs/filter` shows it; never the placeholder of a subflow.

    `task` is the task's name without the suffix of the run. `flow_run_id` is None outside flows. `attempts` counts
    entries into Running, `run_time` the seconds spent in it. `flow_run_attempt` is the flow run's attempt that
    started it. `message_known`: whether the state was read with its message, or only from the run's row.
    """

    id: str
    task: str
    flow_run_id: str | None
    flow_run_attempt: int
    state: State
    attempts: int
    started_at: float | None
    ended_at: float | None
    run_time: float
    message_known: bool = True

    @property
    def kind(self) -> str:
        """The state type, by which reconciliation compares finished runs; roll-backs are their own kind."""
        return ROLLED_BACK if self.is_rolled_back else self.state.type

    @property
    def is_rolled_back(self) -> bool:
        """Prefect marks it by the state's name alone; a failure with that name is still a failure."""
        return self.state.type == "COMPLETED" and self.state.name == ROLLED_BACK


@dataclass(frozen=True, slots=True)
class LogLine:
    """A log line of a run; `at` is the clock of the machine that wrote it."""

    id: str
    at: float
    message: str
    flow_run_id: str | None
    task_run_id: str | None


@dataclass(frozen=True, slots=True)
class FailedAction:
    """A failed action of one of Prefect's own automations; `id` is the event's, `automation` the name at that time."""

    id: str
    automation: str
    at: float


@dataclass(frozen=True, slots=True)
class Materialization:
    """An asset that a task materialized, or failed to; `id` is the event's, `numbers` those in its metadata, by name.

    `result` is succeeded or failed; a failed one has no numbers.
    """

    id: str
    asset: str
    at: float
    result: str
    numbers: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Flow:
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Deployment:
    """`schedules` is the text of the active ones: it changes when they do, and is "" without any."""

    id: str
    name: str
    flow_id: str
    work_pool: str
    work_queue: str
    tags: tuple[str, ...]
    # Not kept in the ledger: the present status; None or "" until it was read.
    paused: bool | None = field(default=None, compare=False)
    ready: bool | None = field(default=None, compare=False)
    schedules: str = field(default="", compare=False)


class Pipeline(NamedTuple):
    """The names of a flow and of one of its deployments ("" for runs without a deployment).

    A tuple, as are keys that contain it, because they are hashed all the time.
    """

    flow: str
    deployment: str


NO_FLOW: Final = Pipeline("", "")
DELETED: Final = "(deleted)"
OTHER: Final = "(other)"
OVERFLOW: Final = Pipeline(OTHER, OTHER)


def needs_no_workers(pool_type: str) -> bool:
    """Whether Prefect itself starts the runs of pools of this type: push pools (`ecs:push`) and managed pools."""
    return pool_type.rpartition(":")[2] in {"push", "managed"}


@dataclass(frozen=True, slots=True)
class WorkPool:
    """`ready` is None where the server gives no status, `slots` without a limit, `slots_used` also on older servers."""

    name: str
    type: str
    paused: bool
    ready: bool | None
    slots: int | None
    slots_used: int | None

    @property
    def has_workers(self) -> bool:
        """False for pools that need no workers and for pools of Prefect 2's agents."""
        return not needs_no_workers(self.type) and self.type != "prefect-agent"


@dataclass(frozen=True, slots=True)
class Workers:
    """The workers of one pool, and the newest heartbeat among them; None before the first."""

    online: int
    offline: int
    last_heartbeat: float | None


@dataclass(frozen=True, slots=True)
class WorkQueue:
    """`ready` is None where the server gives no status, `slots` without a limit, `last_polled` before any poll."""

    work_pool: str
    name: str
    paused: bool
    ready: bool | None
    slots: int | None
    last_polled: float | None


@dataclass(frozen=True, slots=True)
class ConcurrencyLimit:
    """An active limit. `deployment_id` is set for a deployment's own limit, None for a limit that users created."""

    name: str
    deployment_id: str | None
    slots: int
    slots_used: int
