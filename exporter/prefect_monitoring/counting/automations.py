"""Counts failed actions of Prefect's own automations. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from prefect_monitoring.model.changes import Changes, SeriesKey
from prefect_monitoring.model.counted_metrics import FAILED_ACTIONS
from prefect_monitoring.model.records import NO_FLOW, OTHER, FailedAction

MAX_NAMES: Final = 500  # users choose the names, and may rename


def fold_failed_actions(
    actions: Iterable[FailedAction], existing: Iterable[str], known: Collection[SeriesKey]
) -> Changes:
    """The changes from `actions`, none of which is counted yet; `existing`: the names of existing automations.

    `known`: the existing series. Names beyond the cap are counted together.
    """
    changes = Changes()
    names = {key.detail for key in known if key.metric == FAILED_ACTIONS}

    def series(name: str) -> SeriesKey:
        if name not in names and len(names) >= MAX_NAMES:
            name = OTHER
        names.add(name)
        return SeriesKey(FAILED_ACTIONS, NO_FLOW, name)

    changes.zero_born |= {series(name) for name in sorted(existing)}
    for action in actions:
        changes.count(series(action.automation), action.at)
        changes.lines[action.id] = action.at
    return changes
