"""`prefect-monitoring actions`: lists actions, and stops or resumes them, beside a running exporter."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from prefect_monitoring.ledger.beside import actions_since, change_acting
from prefect_monitoring.model.action_text import describe
from prefect_monitoring.model.actions import STOPPED_BY_HAND, Acting


def listed(url: str, since: float) -> Iterator[str]:
    """A line about whether actions are allowed, and one for each action decided since `since`. Raises LedgerError."""
    acting, actions = actions_since(url, since)
    yield _summary(acting)
    for action in actions:
        yield f"{_instant(action.decided_at)}  {describe(action)}"
    if not actions:
        yield "no actions"


def stop(url: str, now: float) -> str:
    """Stops all actions, from the exporter's next poll on. Raises LedgerError."""
    return _summary(change_acting(url, lambda acting: acting.stopped(now, STOPPED_BY_HAND)))


def resume(url: str, now: float) -> str:
    """Allows actions again, after a stop or a blown fuse. Raises LedgerError."""
    return _summary(change_acting(url, lambda acting: acting.resumed(now)))


def _summary(acting: Acting) -> str:
    if acting.stopped_at is not None:
        why = f"the fuse is blown: {acting.stopped_by}" if acting.fuse_blown else "by hand"
        return f"stopped since {_instant(acting.stopped_at)} ({why}); `prefect-monitoring actions --resume` allows them"
    if acting.enabled_at is None:
        return "never enabled: `serve --act` has not run on this ledger"
    return f"allowed, for failures since {_instant(acting.enabled_at)}, while `serve --act` runs"


def _instant(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
