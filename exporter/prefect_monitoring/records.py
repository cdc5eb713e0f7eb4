"""What Prefect says, as frozen values: the vocabulary that everything behind the API speaks.

Instants are seconds since the epoch, UTC, exact to the microsecond that Prefect stores.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

TERMINAL_TYPES: Final = frozenset({"COMPLETED", "FAILED", "CRASHED", "CANCELLED"})
BAD_TYPES: Final = frozenset({"FAILED", "CRASHED"})

# Prefect's own state names (prefect/states.py and the orchestration rules). A name of the user's making is
# shown as its type: user-chosen names are unbounded, and a label must not be.
_STATE_LABELS: Final = {
    "Scheduled": "scheduled",
    "Late": "late",
    "Resuming": "resuming",
    "AwaitingRetry": "awaiting_retry",
    "AwaitingConcurrencySlot": "awaiting_concurrency_slot",
    "Pending": "pending",
    "Submitting": "submitting",
    "InfrastructurePending": "infrastructure_pending",
    "Running": "running",
    "Retrying": "retrying",
    "Paused": "paused",
    "Suspended": "suspended",
    "Cancelling": "cancelling",
    "Cancelled": "cancelled",
    "Completed": "completed",
    "Cached": "cached",
    "RolledBack": "rolled_back",
    "Skipped": "skipped",
    "Failed": "failed",
    "TimedOut": "timed_out",
    "Crashed": "crashed",
}


@dataclass(frozen=True, slots=True)
class State:
    """One state of a run. `type` is Prefect's state type in capitals, `at` the instant it was entered."""

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
        """The state as a label value: Prefect's name in snake case, or the type for a name Prefect does not define."""
        return _STATE_LABELS.get(self.name) or self.type.lower()


@dataclass(frozen=True, slots=True)
class FlowRun:
    """A flow run as `/flow_runs/filter` shows it.

    `started_at` is the first start ever, also after a re-run. `attempts` counts entries into Running.
    `rescheduled` is true when the run was set back to Scheduled after a terminal state. `run_time` is the seconds
    that it was Running in all.
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


@dataclass(frozen=True, slots=True)
class Flow:
    id: str
    name: str


@dataclass(frozen=True, slots=True)
class Deployment:
    id: str
    name: str
    flow_id: str
    work_pool: str
    work_queue: str
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True, order=True)
class Pair:
    """What every series is about: the names of a flow and of one of its deployments ("" for none)."""

    flow: str
    deployment: str


DELETED: Final = "(deleted)"
OTHER: Final = "(other)"
OVERFLOW: Final = Pair(OTHER, OTHER)
