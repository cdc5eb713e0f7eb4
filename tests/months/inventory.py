"""What exists on the model of the server beside runs, asked of the world at the moment of the question."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

from months.details import DOWN
from prefect_monitoring.model.records import ConcurrencyLimit, Workers, WorkPool, WorkQueue
from prefect_monitoring.prefect_api.errors import ApiError
from unit.fake_inventory import FakeInventory

BEAT_SECONDS = 30.0


class MonthInventory(FakeInventory):
    """`types`: pools, `slots`: the limits of some, `down_since`: those without a worker.

    `unpolled`: queues that no worker asks for runs, and since when.
    """

    def __init__(self, server: Any) -> None:
        super().__init__()
        self.server = server
        self.types: dict[str, str] = {}
        self.slots: dict[str, int] = {}
        self.down_since: dict[str, float] = {}
        self.unpolled: dict[tuple[str, str], float] = {}
        self.next_start: Callable[[str, float], float | None] = lambda _deployment, _now: None

    def _answer(self, method: str) -> None:
        if self.server.silent:
            raise DOWN
        super()._answer(method)

    async def work_pools(self) -> list[WorkPool]:
        self._answer("work_pools")
        return [
            WorkPool(name, kind, False, name not in self.down_since, self.slots.get(name), self.used(name))
            for name, kind in self.types.items()
        ]

    def used(self, pool: str) -> int:
        return sum(run.pool == pool and run.state.type in {"PENDING", "RUNNING"} for run in self.server.open_runs())

    async def workers_of(self, pools: Sequence[str]) -> tuple[dict[str, Workers], ApiError | None]:
        self._answer("workers_of")
        return {pool: self._workers(pool) for pool in pools}, None

    def _workers(self, pool: str) -> Workers:
        if pool not in self.down_since:
            return Workers(1, 0, self.server.now // BEAT_SECONDS * BEAT_SECONDS)
        since = self.down_since[pool]
        gone = self.server.now - since > 3 * BEAT_SECONDS
        return Workers(int(not gone), int(gone), since)

    async def work_queues(self) -> list[WorkQueue]:
        self._answer("work_queues")
        queues = {(one.work_pool, one.work_queue) for one in self.server.deployment_names.values()}
        return [WorkQueue(pool, name, False, True, None, self._polled(pool, name)) for pool, name in sorted(queues)]

    def _polled(self, pool: str, queue: str) -> float:
        stopped: float = min(
            self.down_since.get(pool, self.server.now), self.unpolled.get((pool, queue), self.server.now)
        )
        return stopped // 15 * 15

    async def concurrency_limits(self) -> list[ConcurrencyLimit]:
        self._answer("concurrency_limits")
        return [replace(limit, slots_used=self._held(limit)) for limit in self.limits]

    def _held(self, limit: ConcurrencyLimit) -> int:
        """A deployment's own limit is held by its runs that are about to run or do."""
        mine = (run for run in self.server.open_runs() if run.deployment_id == limit.deployment_id)
        return sum(run.state.type in {"PENDING", "RUNNING"} for run in mine)

    async def next_starts(self, deployment_ids: Collection[str], now: float) -> dict[str, float]:
        self._answer("next_starts")
        found = {one: self.next_start(one, now) for one in deployment_ids}
        return {one: at for one, at in found.items() if at is not None}
