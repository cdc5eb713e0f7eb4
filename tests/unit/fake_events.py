"""Events as a test sets them, with the interface of `EventsApi`."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from prefect_monitoring.model.heartbeats import Beats
from prefect_monitoring.model.records import FailedAction, Materialization
from prefect_monitoring.prefect_api.errors import ApiError
from prefect_monitoring.prefect_api.events import FailedActions, Materializations
from unit.fake_details import note


@dataclass
class FakeEvents:
    """`limit`: the most events per response. `broken`: the error of each request, if any.

    `kept`: ids of the stored events; emitted ones are not added while the server `loses` events.
    """

    happened: list[FailedAction] = field(default_factory=list)
    materialized: list[Materialization] = field(default_factory=list)
    limit: int = 100
    asked: list[tuple[float, float]] = field(default_factory=list)
    broken: ApiError | None = None
    unreadable: set[str] = field(default_factory=set)
    sent: dict[str, list[float]] = field(default_factory=dict)
    kept: set[str] = field(default_factory=set)
    loses: bool = False
    beats_asked: list[frozenset[str]] = field(default_factory=list)

    async def materializations(self, after: float, before: float, ids: Collection[str] = ()) -> Materializations:
        self.asked.append((after, before))
        if self.broken is not None:
            raise self.broken
        within = (event for event in self.materialized if after <= event.at <= before and (not ids or event.id in ids))
        events = sorted(within, key=lambda event: (event.at, event.id))
        page = events[: self.limit]
        for event in page:
            if event.id in self.unreadable:
                note(event.id, after)
        readable = tuple(event for event in page if event.id not in self.unreadable)
        return Materializations(readable, page[-1].at if page else None, complete=len(page) == len(events))

    async def failed_actions(self, after: float, before: float, ids: Collection[str] = ()) -> FailedActions:
        self.asked.append((after, before))
        if self.broken is not None:
            raise self.broken
        actions = sorted(
            (action for action in self.happened if after <= action.at <= before),
            key=lambda action: (action.at, action.id),
        )
        actions = [action for action in actions if not ids or action.id in ids]
        page = actions[: self.limit]
        for action in page:
            if action.id in self.unreadable:
                note(action.id)
        readable = tuple(action for action in page if action.id not in self.unreadable)
        return FailedActions(readable, page[-1].at if page else None, complete=len(page) == len(actions))

    async def exists(self, event_id: str, _since: float) -> bool:
        return event_id in self.kept

    async def heartbeats(self, run_ids: Collection[str], since: float, until: float) -> dict[str, Beats]:
        self.beats_asked.append(frozenset(run_ids))
        if self.broken is not None:
            raise self.broken
        inside = {run_id: [at for at in self.sent.get(run_id, ()) if since <= at <= until] for run_id in run_ids}
        return {run_id: Beats(len(beats), min(beats), max(beats)) for run_id, beats in inside.items() if beats}
