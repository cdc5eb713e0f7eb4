"""The newest actions, as rows of the status page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from prefect_monitoring.model.action_text import describe
from prefect_monitoring.model.actions import ActionResult
from prefect_monitoring.snapshot.model import Snapshot
from prefect_monitoring.web.status_page.formatting import age
from prefect_monitoring.web.status_page.tone import Tone

_TONES: Final = {
    ActionResult.DONE: Tone.OK,
    ActionResult.FAILED: Tone.BAD,
    ActionResult.EXHAUSTED: Tone.BAD,
    ActionResult.FUSE: Tone.BAD,
}


@dataclass(frozen=True, slots=True)
class ActionRow:
    """One action: when it was decided, what it is, and its result."""

    when: str
    text: str
    result: str
    tone: Tone


def action_rows(snapshot: Snapshot) -> Iterator[ActionRow]:
    """The newest first; empty unless the exporter acts."""
    for action in snapshot.actions.recent if snapshot.actions is not None else ():
        text, _, reason = describe(action).partition(f": {action.result}")
        yield ActionRow(
            when=f"{age(snapshot.taken_at - action.decided_at)} ago",
            text=text,
            result=f"{action.result.replace('_', ' ')}{reason}",
            tone=_TONES.get(action.result, Tone.WARN),
        )
