"""The inventory as a test sets it, with the interface of `InventoryApi`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from prefect_monitoring.model.records import ConcurrencyLimit, Workers, WorkPool, WorkQueue
from prefect_monitoring.prefect_api.errors import ApiError


@dataclass
class FakeInventory:
    """`starts`: every start that the scheduler has planned, by deployment id. `broken`: the failing methods."""

    pools: list[WorkPool] = field(default_factory=list)
    workers: dict[str, Workers] = field(default_factory=dict)
    queues: list[WorkQueue] = field(default_factory=list)
    limits: list[ConcurrencyLimit] = field(default_factory=list)
    enabled: dict[bool, int] = field(default_factory=lambda: {True: 0, False: 0})
    starts: dict[str, list[float]] = field(default_factory=dict)
    asked: list[Collection[str]] = field(default_factory=list)
    broken: dict[str, ApiError] = field(default_factory=dict)

    def _answer(self, method: str) -> None:
        if method in self.broken:
            raise self.broken[method]

    async def work_pools(self) -> list[WorkPool]:
        self._answer("work_pools")
        return list(self.pools)

    async def workers_of(self, pools: Sequence[str]) -> tuple[dict[str, Workers], ApiError | None]:
        workers = {pool: self.workers.get(pool, Workers(0, 0, None)) for pool in pools if pool not in self.broken}
        return workers, next((self.broken[pool] for pool in pools if pool in self.broken), None)

    async def work_queues(self) -> list[WorkQueue]:
        self._answer("work_queues")
        return list(self.queues)

    async def concurrency_limits(self) -> list[ConcurrencyLimit]:
        self._answer("concurrency_limits")
        return list(self.limits)

    async def automations(self) -> list[tuple[str, bool]]:
        self._answer("automations")
        return [(f"automation {number}", enabled) for enabled, count in self.enabled.items() for number in range(count)]

    async def next_starts(self, deployment_ids: Collection[str], now: float) -> dict[str, float]:
        self.asked.append(sorted(deployment_ids))
        self._answer("next_starts")
        planned = {
            deployment_id: [at for at in self.starts.get(deployment_id, ()) if at >= now]
            for deployment_id in deployment_ids
        }
        return {deployment_id: min(starts) for deployment_id, starts in planned.items() if starts}
