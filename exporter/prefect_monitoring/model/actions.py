"""What the exporter changes in Prefect: an action from intention to result, and whether actions are allowed."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final
from uuid import UUID, uuid5

from prefect_monitoring.model.changes import SeriesKey
from prefect_monitoring.model.counted_metrics import ACTIONS
from prefect_monitoring.model.records import Pipeline

_NAMESPACE: Final = UUID("7d1f3a52-6f0e-5c1b-9d53-0a4a1f6f6b11")


class Kind(StrEnum):
    """The label `action` of `prefect_exporter_actions_total`."""

    RETRY = "retry"
    PAUSE = "pause"
    RESUME = "resume"
    SCALE_UP = "scale_up"
    SCALE_DOWN = "scale_down"
    SKIP = "skip"
    MARK_CRASHED = "mark_crashed"


class ActionResult(StrEnum):
    """The label `result`. The first two are not final, and not counted.

    SENT: the request went out and no answer was recorded, so that reading Prefect has to decide. EXHAUSTED: a run
    failed and all its retries are used. FUSE: withheld, because the fuse was blown.
    """

    PLANNED = "planned"
    SENT = "sent"
    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"
    EXHAUSTED = "exhausted"
    FUSE = "fuse"
    DRY_RUN = "dry_run"

    @property
    def is_final(self) -> bool:
        return self not in OPEN_RESULTS


# These stay in force until they are undone.
HOLDING: Final = frozenset({Kind.PAUSE, Kind.SCALE_UP})
OPEN_RESULTS: Final = frozenset({ActionResult.PLANNED, ActionResult.SENT})
# A failed run with one of these results has a retry to come, so that it is not reported as failed for good.
RETRY_TO_COME: Final = frozenset({ActionResult.PLANNED, ActionResult.SENT, ActionResult.DONE})
# The fuse counts these: actions that reached Prefect, or were about to.
SPENDING: Final = frozenset({*OPEN_RESULTS, ActionResult.DONE, ActionResult.FAILED})


class Hold(StrEnum):
    """Whether a pause or a raised limit is still in force. BY_HAND: a user changed it since, which takes precedence."""

    NONE = ""
    HELD = "held"
    BY_HAND = "by_hand"
    RELEASED = "released"


STOPPED_BY_HAND: Final = "stop"


@dataclass(frozen=True, slots=True)
class Action:
    """An action, done or planned, that a rule of `pipeline` asks for. Instants in epoch seconds.

    `run_id`, `run_name` and `state_id`: the run that is the reason, and the state that it must still be in. `cause`: a
    failure cause, or `late`, `too_long` and `unresponsive`. `attempt` of `allowed` retries. `at`: when a retry is to
    start; for other actions, when the reason began. `target` is a deployment's id or a work pool's name, `target_name`
    the name to show. After `expires_at` the action is not started any more. `before` and `after` are concurrency
    limits; `hold` and `held_until` say how long they, or a pause, stay in force.
    """

    id: str
    kind: Kind
    pipeline: Pipeline
    decided_at: float
    expires_at: float
    result: ActionResult = ActionResult.PLANNED
    reason: str = ""
    finished_at: float | None = None
    run_id: str = ""
    run_name: str = ""
    state_id: str = ""
    cause: str = ""
    attempt: int = 0
    allowed: int = 0
    at: float | None = None
    target: str = ""
    target_name: str = ""
    before: int | None = None
    after: int | None = None
    hold: Hold = Hold.NONE
    held_until: float | None = None

    @property
    def may_be_in_force(self) -> bool:
        """Whether this is an action to be undone later of which it is unknown whether it was done."""
        return self.kind in HOLDING and self.result is ActionResult.SENT


@dataclass(frozen=True, slots=True)
class Acting:
    """Whether actions are allowed. `enabled_at`: since when failures are acted upon; None before that.

    `stopped_at`, `stopped_by`: since when actions are stopped, and why: STOPPED_BY_HAND or what blew the fuse. The fuse
    counts actions that were decided after `fuse_from`.
    """

    enabled_at: float | None = None
    stopped_at: float | None = None
    stopped_by: str = ""
    fuse_from: float = 0.0

    @property
    def allowed(self) -> bool:
        return self.enabled_at is not None and self.stopped_at is None

    @property
    def stopped_by_hand(self) -> bool:
        return self.stopped_at is not None and self.stopped_by == STOPPED_BY_HAND

    @property
    def fuse_blown(self) -> bool:
        return self.stopped_at is not None and self.stopped_by != STOPPED_BY_HAND

    def stopped(self, now: float, by: str) -> Acting:
        """Stopped now, unless stopped already; a manual stop replaces a blown fuse, which would reset by itself."""
        if self.stopped_at is not None and (by != STOPPED_BY_HAND or self.stopped_by == STOPPED_BY_HAND):
            return self
        return replace(self, stopped_at=now, stopped_by=by)

    def resumed(self, now: float) -> Acting:
        return replace(self, stopped_at=None, stopped_by="", fuse_from=now)


def action_id(kind: Kind, *parts: object) -> str:
    """The id of an action, derived from its subject: deciding the same action again gives the same id."""
    return str(uuid5(_NAMESPACE, "\n".join(map(str, (kind, *parts)))))


def retry_id(run_id: str, state_id: str, attempt: int) -> str:
    """The id of a retry, and the transition id that Prefect gets with it."""
    return action_id(Kind.RETRY, run_id, state_id, attempt)


def spread(seconds: float, share: float, identifier: str) -> float:
    """`seconds`, more or less by up to `share` of them: always the same for one identifier."""
    return seconds * (1 + share * random.Random(identifier).uniform(-1, 1))  # noqa: S311 spreads load, keeps no secret


def retries_made(actions: Sequence[Action]) -> int:
    """How many retries of a run count against its maximum: all but those refused, withheld or of a dry run."""
    return sum(action.kind is Kind.RETRY and action.result in SPENDING for action in actions)


def was_marked_crashed(actions: Sequence[Action]) -> bool:
    """Whether the last of a run's `actions` marked it Crashed, or may have done so.

    Its process may still be working, unlike that of a run whose crash was observed.
    """
    done = [action for action in actions if action.result in SPENDING]
    last = max(done, key=lambda action: action.decided_at, default=None)
    return last is not None and last.kind is Kind.MARK_CRASHED


# Exposed at zero where a rule covers a pipeline, so that `increase()` sees the first action.
_ZERO_BORN_RESULTS: Final = (ActionResult.DONE, ActionResult.REFUSED, ActionResult.FAILED)


def action_key(pipeline: Pipeline, kind: Kind, result: ActionResult) -> SeriesKey:
    """The series that counts actions of this kind, for this pipeline, with this result."""
    return SeriesKey(ACTIONS, pipeline, labels=(("action", kind.value), ("result", result.value)))


def zero_born_action_series(pipeline: Pipeline, kinds: Iterable[Kind]) -> Iterable[SeriesKey]:
    """The series that exist as soon as a rule covers a pipeline; `kinds`: the actions of the rule."""
    for kind in kinds:
        yield from (action_key(pipeline, kind, result) for result in _ZERO_BORN_RESULTS)
        if kind is Kind.RETRY:
            yield action_key(pipeline, kind, ActionResult.EXHAUSTED)
