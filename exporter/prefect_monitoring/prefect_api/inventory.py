"""Reads what exists besides runs: work pools, workers, queues, limits, automations, and next starts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Final

from prefect_monitoring.model.records import ConcurrencyLimit, Workers, WorkPool, WorkQueue, needs_no_workers
from prefect_monitoring.prefect_api.errors import ApiError
from prefect_monitoring.prefect_api.pagination import (
    MAX_PAGE,
    Paginator,
    Row,
    decode,
    instant,
    iso,
    maybe_instant,
    maybe_int,
    text,
)

WORKER_CONCURRENCY: Final = 4
MISSED_HEARTBEATS: Final = 3
LEAST_PATIENCE_SECONDS: Final = 90.0
WORKER_FAULTS: Final = 3  # tolerates a broken pool, but does not ask a dead endpoint for every pool
_OF_DEPLOYMENT: Final = "deployment:"
_BY_SCHEDULE: Final = "auto-scheduled"  # the tag that the scheduler gives its runs


class InventoryApi:
    """Reads of the Prefect API, as records. Every method raises ApiError when there is no usable answer."""

    def __init__(self, paginator: Paginator, clock: Callable[[], float] = time.time) -> None:
        self._paginator = paginator
        self._clock = clock

    async def work_pools(self) -> list[WorkPool]:
        return decode(_work_pool, await self._paginator.all("/work_pools/filter", {}))

    async def workers(self, pool: str) -> Workers:
        rows = await self._paginator.all("/work_pools/{name}/workers/filter", {}, {"name": pool})
        seen = decode(partial(_heartbeat, now=self._clock()), rows)
        online = sum(is_online for is_online, _ in seen)
        return Workers(online, len(seen) - online, max((at for _, at in seen if at is not None), default=None))

    async def workers_of(self, pools: Sequence[str]) -> tuple[dict[str, Workers], ApiError | None]:
        """The workers of each pool that could be read, and the error for others, if any."""
        gate = asyncio.Semaphore(WORKER_CONCURRENCY)
        found: dict[str, Workers] = {}
        faults: list[ApiError] = []

        async def read(pool: str) -> None:
            async with gate:
                if len(faults) >= WORKER_FAULTS and not found:
                    return
                try:
                    found[pool] = await self.workers(pool)
                except ApiError as fault:
                    faults.append(fault)

        await asyncio.gather(*map(read, pools))
        return found, faults[0] if faults else None

    async def work_queues(self) -> list[WorkQueue]:
        rows, limit = await self._paginator.page("/work_queues/filter", {}, 0)
        if len(rows) >= limit:
            # Sorted by name, and names repeat across pools: rows beyond a page may come in another order each time.
            names = sorted(pool.name for pool in await self.work_pools())
            rows = [row for name in names for row in await self._queues_of(name)]
        return decode(_work_queue, rows)

    async def _queues_of(self, pool: str) -> list[Row]:
        return await self._paginator.all("/work_pools/{name}/queues/filter", {}, {"name": pool})

    async def concurrency_limits(self) -> list[ConcurrencyLimit]:
        """Active concurrency limits."""
        rows = await self._paginator.all("/v2/concurrency_limits/filter", {})
        return decode(_concurrency_limit, [row for row in rows if row.get("active", True)])

    async def automations(self) -> list[tuple[str, bool]]:
        """The automations' names, which need not be unique, and whether each is enabled."""
        rows = await self._paginator.all("/automations/filter", {"sort": "CREATED_DESC"})
        return decode(lambda row: (text(row["name"]), bool(row["enabled"])), rows)

    async def next_starts(self, deployment_ids: Collection[str], now: float) -> dict[str, float]:
        """When the schedules of these deployments next start a run; without deployments that have no scheduled run.

        A deployment with a result is left out of further requests, because some have sixty scheduled runs.
        """
        found: dict[str, float] = {}
        wanted = sorted(deployment_ids)
        for begin in range(0, len(wanted), MAX_PAGE):
            pending = set(wanted[begin : begin + MAX_PAGE])
            while pending:
                rows, limit = await self._paginator.page("/flow_runs/filter", _scheduled(pending, now), 0)
                for deployment_id, at in decode(_start, rows):
                    found.setdefault(deployment_id, at)
                if len(rows) < limit or pending.isdisjoint(found):
                    break
                pending -= found.keys()
        return found


def _scheduled(deployment_ids: Collection[str], now: float) -> Mapping[str, object]:
    runs = {
        "deployment_id": {"any_": sorted(deployment_ids)},
        "state": {"type": {"any_": ["SCHEDULED"]}, "name": {"any_": ["Scheduled"]}},
        "expected_start_time": {"after_": iso(now)},
        "tags": {"all_": [_BY_SCHEDULE]},
    }
    return {"flow_runs": runs, "sort": "NEXT_SCHEDULED_START_TIME_ASC"}


def _start(row: Row) -> tuple[str, float]:
    return text(row["deployment_id"]), instant(row["expected_start_time"])


def _work_pool(row: Row) -> WorkPool:
    # The server never marks a pool ready that has no workers.
    kind, is_paused = text(row["type"]), bool(row.get("is_paused"))
    return WorkPool(
        name=text(row["name"]),
        type=kind,
        paused=is_paused,
        ready=not is_paused if needs_no_workers(kind) else _is_ready(row),
        slots=maybe_int(row.get("concurrency_limit")),
        slots_used=maybe_int(row.get("active_slots")),
    )


def _work_queue(row: Row) -> WorkQueue:
    return WorkQueue(
        work_pool=text(row.get("work_pool_name") or ""),
        name=text(row["name"]),
        paused=bool(row.get("is_paused")),
        ready=_is_ready(row),
        slots=maybe_int(row.get("concurrency_limit")),
        last_polled=maybe_instant(row.get("last_polled")),
    )


def _is_ready(row: Row) -> bool | None:
    status = row.get("status")
    return None if status is None else status == "READY"


def _heartbeat(row: Row, now: float) -> tuple[bool, float | None]:
    """Whether a worker is online, and its last heartbeat.

    A worker with an old heartbeat is offline, even if the server's service that marks workers offline is off.
    """
    at = maybe_instant(row.get("last_heartbeat_time"))
    patience = max(MISSED_HEARTBEATS * float(row.get("heartbeat_interval_seconds") or 0.0), LEAST_PATIENCE_SECONDS)
    is_silent = at is not None and now - at > patience
    return row["status"] == "ONLINE" and not is_silent, at


def _concurrency_limit(row: Row) -> ConcurrencyLimit:
    kind, mark, deployment_id = row["name"].partition(_OF_DEPLOYMENT)
    own = deployment_id if mark and not kind else None
    return ConcurrencyLimit(text(row["name"]), own, int(row["limit"]), int(row["active_slots"]))
