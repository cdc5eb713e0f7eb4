"""Reads what exists besides runs: pools, workers, queues, limits, automations, deployments' tags and due starts.

Each part is kept with the time of its reading; parts do not wait for each other.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from prefect_monitoring.config.settings import FilterSettings, LabelSettings
from prefect_monitoring.counting import schedules
from prefect_monitoring.counting.filters import Filters
from prefect_monitoring.counting.schedules import Asked, Plan
from prefect_monitoring.ingest.flow_runs import Reader
from prefect_monitoring.ingest.ports import InventorySource
from prefect_monitoring.ingest.source import Reading
from prefect_monitoring.model.changes import Changes
from prefect_monitoring.model.inventory import Inventory
from prefect_monitoring.model.records import ConcurrencyLimit, Deployment, Pipeline, Workers, WorkPool, WorkQueue
from prefect_monitoring.policy.tags import shown_tags
from prefect_monitoring.prefect_api.errors import INCOMPLETE, ApiError

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Part(Generic[Value]):
    """What was read, and when."""

    value: Value
    at: float


class InventoryReader:
    """Holds the last reading of each part; `schedules` go into the ledger. Parts may be read concurrently."""

    def __init__(self, reader: Reader, api: InventorySource, filters: FilterSettings, labels: LabelSettings) -> None:
        self.pools: Part[Sequence[WorkPool]] | None = None
        self.workers: Mapping[str, Part[Workers]] = {}
        self.queues: Part[Sequence[WorkQueue]] | None = None
        self.limits: Part[Sequence[ConcurrencyLimit]] | None = None
        self.automations: Part[Mapping[bool, int]] | None = None
        self.automation_names: frozenset[str] = frozenset()
        self._reader = reader
        self._api = api
        self._filters = Filters(filters)
        self._tag_patterns = [re.compile(pattern, re.DOTALL) for pattern in labels.deployment_tags]
        self._max_tags = labels.max_tags
        self._asked: Mapping[str, Asked] = {}

    def current(self, live: Mapping[Pipeline, Deployment], now: float, limit: float) -> Inventory:
        """What was read within the last `limit` seconds, for the `live` deployments."""
        since = now - limit
        limits = _since(since, self.limits)
        return Inventory(
            pools=_since(since, self.pools),
            workers={name: part.value for name, part in self.workers.items() if part.at >= since},
            queues=_since(since, self.queues),
            limits=None if limits is None else named_limits(limits, live.items()),
            automations=_since(since, self.automations),
            tags={one.id: shown_tags(one.tags, self._tag_patterns, self._max_tags) for one in live.values()},
        )

    async def read_work_pools(self) -> Reading:
        """Reads pools, then the workers of each pool that has workers. ApiError when some could not be read."""
        pools = [pool for pool in await self._api.work_pools() if self._filters.allow_pool(pool.name)]
        self.pools = Part(tuple(pools), self._reader.clock())
        staffed = [pool.name for pool in pools if pool.has_workers]
        found, fault = await self._api.workers_of(staffed)
        read_at = self._reader.clock()
        kept = {name: part for name, part in self.workers.items() if name in staffed}
        self.workers = kept | {name: Part(workers, read_at) for name, workers in found.items()}
        if fault:
            raise ApiError(f"{len(staffed) - len(found)} work pools' workers cannot be read: {fault}", INCOMPLETE)
        return Reading(len(pools) + sum(workers.online + workers.offline for workers in found.values()))

    async def read_work_queues(self) -> Reading:
        queues = [one for one in await self._api.work_queues() if self._filters.allow_pool(one.work_pool)]
        self.queues = Part(tuple(queues), self._reader.clock())
        return Reading(len(queues))

    async def read_concurrency_limits(self) -> Reading:
        limits = await self._api.concurrency_limits()
        self.limits = Part(tuple(limits), self._reader.clock())
        return Reading(len(limits))

    async def read_automations(self) -> Reading:
        automations = await self._api.automations()
        counts = Counter(enabled for _, enabled in automations)
        self.automations = Part({enabled: counts[enabled] for enabled in (True, False)}, self._reader.clock())
        self.automation_names = frozenset(name for name, _ in automations)
        return Reading(len(automations))

    async def read_schedules(self) -> Reading:
        """Reads the next start of deployments where it is not known; stores starts that were due since."""
        now = self._reader.clock()
        live = {deployment.id: deployment for deployment in self._wanted_deployments()}
        plan = await self._reader.in_ledger(self._plan, live.values(), now)
        starts = await self._api.next_starts(plan.ask, now) if plan.ask else {}
        await self._reader.in_ledger(self._store_starts, plan, starts)
        self._asked = _asked_after(self._asked, live, plan, now)
        return Reading(len(starts), asked=bool(plan.ask))

    def _wanted_deployments(self) -> Iterator[Deployment]:
        for pipeline, deployment in self._reader.ledger.names.live_deployments():
            if self._filters.allow(pipeline, deployment.tags, deployment.work_pool):
                yield deployment

    def _plan(self, live: Collection[Deployment], now: float) -> Plan:
        """Plans the requests; stores which deployments are paused, since when, and which are no longer due."""
        known = self._reader.ledger.schedules
        plan = schedules.plan(live, known, self._asked, now)
        off = {one: replace(known.get(one, schedules.UNKNOWN), next_at=None, unscheduled_at=now) for one in plan.off}
        pauses = {
            one: schedules.paused(off.get(one) or known.get(one, schedules.UNKNOWN), at, now)
            for one, at in plan.pauses.items()
        }
        self._reader.ledger.store_schedules(off | pauses)
        return plan

    def _store_starts(self, plan: Plan, starts: Mapping[str, float]) -> None:
        """In this order: if the process is killed in between, the old next start is still stored and can pass."""
        ledger = self._reader.ledger
        if plan.passed:
            ledger.commit(Changes(due=plan.passed), None, self._reader.clock())
        before = {one: ledger.schedules.get(one, schedules.UNKNOWN) for one in plan.ask}
        after = {one: replace(due, next_at=starts.get(one)) for one, due in before.items()}
        ledger.store_schedules({one: due for one, due in after.items() if due != before[one]})


def _since(earliest: float, part: Part[Value] | None) -> Value | None:
    return part.value if part is not None and part.at >= earliest else None


def _asked_after(
    asked: Mapping[str, Asked], live: Mapping[str, Deployment], plan: Plan, now: float
) -> Mapping[str, Asked]:
    kept = {one: before for one, before in asked.items() if one in live}
    return kept | {one: Asked(live[one].schedules, now) for one in plan.ask}


def named_limits(
    limits: Iterable[ConcurrencyLimit], deployments: Iterable[tuple[Pipeline, Deployment]]
) -> dict[str, ConcurrencyLimit]:
    """Limits by name; a deployment's own limit has the deployment's name, and is left out if that is gone."""
    names = {deployment.id: f"{pipeline.flow}/{pipeline.deployment}" for pipeline, deployment in deployments}
    own = {names[limit.deployment_id]: limit for limit in limits if limit.deployment_id in names}
    return own | {limit.name: limit for limit in limits if limit.deployment_id is None}
