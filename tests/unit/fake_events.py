"""Failed actions of automations, as a test wants them: it answers what `EventsApi` answers."""

from __future__ import annotations

from dataclasses import dataclass, field

from prefect_monitoring.model.records import FailedAction, Materialization
from prefect_monitoring.prefect_api.errors import ApiError
from prefect_monitoring.prefect_api.events import FailedActions, Materializations


@dataclass
class FakeEvents:
    """`limit`: how many events one answer has at most. `broken`: why there is none."""

    happened: list[FailedAction] = field(default_factory=list)
    materialized: list[Materialization] = field(default_factory=list)
    limit: int = 100
    asked: list[tuple[float, float]] = field(default_factory=list)
    broken: ApiError | None = None

    async def materializations(self, after: float, before: float) -> Materializations:
        self.asked.append((after, before))
        if self.broken is not None:
            raise self.broken
        within = (one for one in self.materialized if after <= one.at <= before)
        found = sorted(within, key=lambda one: (one.at, one.id))
        page = found[: self.limit]
        return Materializations(tuple(page), page[-1].at if page else None, complete=len(page) == len(found))

    async def failed_actions(self, after: float, before: float) -> FailedActions:
        self.asked.append((after, before))
        if self.broken is not None:
            raise self.broken
        found = sorted((one for one in self.happened if after <= one.at <= before), key=lambda one: (one.at, one.id))
        page = found[: self.limit]
        return FailedActions(tuple(page), page[-1].at if page else None, complete=len(page) == len(found))
