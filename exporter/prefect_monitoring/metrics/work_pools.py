"""Work pools, their workers and their queues."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from prefect_monitoring.metrics.family import Metric, Row
from prefect_monitoring.model.records import WorkPool, WorkQueue
from prefect_monitoring.snapshot.model import Snapshot

POOL: Final = ("work_pool",)
QUEUE: Final = ("work_pool", "work_queue")


def _pool_info(snapshot: Snapshot) -> Iterator[Row]:
    for pool in snapshot.inventory.pools or ():
        yield (pool.name, pool.type), 1.0


def _of_pool(value: Callable[[WorkPool], float | None]) -> Callable[[Snapshot], Iterator[Row]]:
    def rows(snapshot: Snapshot) -> Iterator[Row]:
        for pool in snapshot.inventory.pools or ():
            if (known := value(pool)) is not None:
                yield (pool.name,), float(known)

    return rows


def _workers(snapshot: Snapshot) -> Iterator[Row]:
    for pool, workers in snapshot.inventory.workers.items():
        yield (pool, "online"), workers.online
        yield (pool, "offline"), workers.offline


def _last_heartbeat(snapshot: Snapshot) -> Iterator[Row]:
    for pool, workers in snapshot.inventory.workers.items():
        if workers.last_heartbeat is not None:
            yield (pool,), workers.last_heartbeat


def _of_queue(value: Callable[[WorkQueue, Snapshot], float | None]) -> Callable[[Snapshot], Iterator[Row]]:
    def rows(snapshot: Snapshot) -> Iterator[Row]:
        for queue in snapshot.inventory.queues or ():
            if (known := value(queue, snapshot)) is not None:
                yield (queue.work_pool, queue.name), float(known)

    return rows


def _late_runs(queue: WorkQueue, snapshot: Snapshot) -> float | None:
    return None if snapshot.active is None else snapshot.active.late_by_queue.get((queue.work_pool, queue.name), 0)


def _slots_used(queue: WorkQueue, snapshot: Snapshot) -> float | None:
    if queue.slots is None or snapshot.active is None:
        return None
    return snapshot.active.slots_by_queue.get((queue.work_pool, queue.name), 0)


METRICS: Final = (
    Metric("prefect_work_pool_info", "gauge", "A work pool that exists, with its type.", (*POOL, "type"), _pool_info),
    Metric(
        "prefect_work_pool_ready",
        "gauge",
        "1 when the work pool is ready: not paused, and a worker is online or none is needed (push and managed pools).",
        POOL,
        _of_pool(lambda pool: pool.ready),
    ),
    Metric(
        "prefect_work_pool_paused",
        "gauge",
        "1 when the work pool is paused: it hands out no runs.",
        POOL,
        _of_pool(lambda pool: pool.paused),
    ),
    Metric(
        "prefect_work_pool_slots",
        "gauge",
        "Runs that the work pool's concurrency limit allows at a time; absent without a limit.",
        POOL,
        _of_pool(lambda pool: pool.slots),
    ),
    Metric(
        "prefect_work_pool_slots_used",
        "gauge",
        "Slots of the work pool's concurrency limit that are taken; absent without a limit and on older servers.",
        POOL,
        _of_pool(lambda pool: pool.slots_used),
    ),
    Metric(
        "prefect_work_pool_workers",
        "gauge",
        "Workers of the work pool, online and offline; absent for push and managed pools, which have none.",
        (*POOL, "state"),
        _workers,
    ),
    Metric(
        "prefect_work_pool_last_heartbeat_timestamp_seconds",
        "gauge",
        "When a worker of the work pool last sent a heartbeat.",
        POOL,
        _last_heartbeat,
    ),
    Metric(
        "prefect_work_queue_ready",
        "gauge",
        "1 when the work queue is ready: it was polled recently and is not paused.",
        QUEUE,
        _of_queue(lambda queue, _: queue.ready),
    ),
    Metric(
        "prefect_work_queue_paused",
        "gauge",
        "1 when the work queue is paused: it hands out no runs.",
        QUEUE,
        _of_queue(lambda queue, _: queue.paused),
    ),
    Metric(
        "prefect_work_queue_late_runs",
        "gauge",
        "Runs of the work queue that should have started and have not.",
        QUEUE,
        _of_queue(_late_runs),
    ),
    Metric(
        "prefect_work_queue_last_polled_timestamp_seconds",
        "gauge",
        "When the work queue was last polled.",
        QUEUE,
        _of_queue(lambda queue, _: queue.last_polled),
    ),
    Metric(
        "prefect_work_queue_slots",
        "gauge",
        "Runs that the work queue's concurrency limit allows at a time; absent without a limit.",
        QUEUE,
        _of_queue(lambda queue, _: queue.slots),
    ),
    Metric(
        "prefect_work_queue_slots_used",
        "gauge",
        "Slots of the work queue's limit that pending, running and cancelling runs take; absent without a limit.",
        QUEUE,
        _of_queue(_slots_used),
    ),
)
