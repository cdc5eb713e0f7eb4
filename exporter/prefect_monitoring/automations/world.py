"""What the controller reads from Prefect right before a request changes it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from prefect_monitoring.automations.retries import Target
from prefect_monitoring.model.records import Deployment, FlowRun
from prefect_monitoring.prefect_api.actions import ActionsApi
from prefect_monitoring.prefect_api.events import EventsApi
from prefect_monitoring.prefect_api.flow_runs import PrefectApi, RunGroup
from prefect_monitoring.prefect_api.inventory import InventoryApi
from prefect_monitoring.prefect_api.unreadable import collected_in

MOST_OVERDUE: Final = 2000


@dataclass(frozen=True, slots=True)
class World:
    """Every method raises ApiError."""

    runs: PrefectApi
    inventory: InventoryApi
    actions: ActionsApi
    events: EventsApi

    async def target(self, run_id: str) -> Target:
        """A run, read last, so that as little time as possible passes before the request about it."""
        history = await self.actions.history(run_id)
        found = await self.runs.flow_runs([run_id])
        run = found[0] if found else None
        deployment_exists = run is None or run.deployment_id is None or await self._exists(run.deployment_id)
        if run is not None and not deployment_exists:
            return Target(run, history, deployment_exists=False)
        found = await self.runs.flow_runs([run_id])
        return Target(found[0] if found else None, history)

    async def _exists(self, deployment_id: str) -> bool:
        return deployment_id in await self.runs.deployments([deployment_id])

    async def deployments(self, ids: Collection[str]) -> Mapping[str, Deployment]:
        """Those of `ids` that exist, by id."""
        return await self.runs.deployments(ids) if ids else {}

    async def slots(self) -> dict[str, int | None]:
        """The concurrency limit of every work pool, by name; None without a limit."""
        return {pool.name: pool.slots for pool in await self.inventory.work_pools()}

    async def overdue(self, before: float, groups: Iterable[RunGroup]) -> list[FlowRun]:
        """Runs of these groups still waiting for a start that was due earlier than `before`, without unreadable ones.

        Not many more than `MOST_OVERDUE` for each group: the others follow once these are ended.
        """
        found: list[FlowRun] = []
        with collected_in({}):
            for group in groups:
                if group.deployments or group.flows:
                    found += await self.runs.overdue_runs(before, group=group, most=MOST_OVERDUE)
        return found

    async def keeps_events(self, event: Mapping[str, Any], since: float) -> bool:
        """Whether `event`, sent after `since`, has arrived; sends it if it has not.

        While Prefect loses events, no run seems to send heartbeats.
        """
        if await self.events.exists(str(event["id"]), since):
            return True
        await self.actions.emit([event])
        return False
