"""The reference team: days of flow runs with their task runs and log lines, on a real Prefect server."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from support.bulk import Batch, Entered, add_flow_run, add_log, add_task_run, task_history
from support.database import insert
from support.prefect_server import PrefectServer
from support.seeder import Seeder

FLOWS: Final = 500
DEPLOYMENTS: Final = 600  # 200 flows have two, 200 have one; 100 flows are run ad hoc
WORK_POOLS: Final = 15
ACTIVE: Final = 100
TASKS: Final = ("extract", "transform", "load", "notify")
# Ended so long ago that the last readings' overlap is no work: an idle poll finds nothing.
SILENCE: Final = timedelta(minutes=10)
BATCH: Final = 5000
PAGE: Final = 200
_FAILURES: Final = (
    "Flow run encountered an exception: ValueError: 3 rows without a key",
    "Flow run encountered an exception: ConnectionError: the warehouse does not answer",
    "Flow run encountered an exception: MemoryError",
    "Task run load-1f3 failed: KeyError: 'customer_id'",
)


@dataclass(frozen=True, slots=True)
class Place:
    """What a run belongs to: a deployment in its work queue, or a flow alone."""

    flow_id: str
    deployment_id: str | None = None
    work_queue_id: str | None = None


def seed_team(server: PrefectServer) -> list[Place]:
    """Flows, deployments and work pools; returns every place where runs happen."""
    with Seeder(server.url, auth=server.auth) as api:
        pools = [f"pool-{number:02}" for number in range(WORK_POOLS)]
        for pool in pools:
            api.work_pool(pool)
            api.heartbeat(pool, "worker-1")
        flows = [api.flow(f"flow-{number:03}") for number in range(FLOWS)]
        deployed = FLOWS * 4 // 5
        places: list[Place] = []
        for number in range(DEPLOYMENTS):
            flow_id, pool = flows[number % deployed], pools[number % WORK_POOLS]
            api.deployment(flow_id, ("main", "second")[number // deployed], work_pool=pool)
        for offset in range(0, DEPLOYMENTS, PAGE):
            rows = api.call("POST", "/deployments/filter", {"offset": offset, "sort": "NAME_ASC"})
            places += [Place(row["flow_id"], row["id"], row["work_queue_id"]) for row in rows]
        return places + [Place(flow_id) for flow_id in flows[deployed:]]


def seed_runs(
    server: PrefectServer, places: list[Place], runs: int, span: timedelta, task_span: timedelta | None = None
) -> None:
    """`runs` finished flow runs, evenly over `span`, each with its task runs and a METRIC line; and ACTIVE ones.

    `task_span`: only those that ended within it have these.
    """
    newest = datetime.now(UTC) - SILENCE
    batch: Batch = defaultdict(list)
    for number in range(runs):
        end = newest - span * ((runs - 1 - number) / runs)
        with_tasks = task_span is None or newest - end <= task_span
        _add_run(batch, places[number * 7 % len(places)], number, end, with_tasks=with_tasks)
        if len(batch["flow_run"]) == BATCH:
            insert(server, batch)
            batch.clear()
    for number in range(ACTIVE):
        _add_active(batch, places[number * 7 % len(places)], newest - timedelta(seconds=number))
    insert(server, batch)


def _add_run(batch: Batch, place: Place, number: int, end: datetime, *, with_tasks: bool) -> None:
    """In a hundred runs three fail and one fails, is retried and completes; in a thousand, two crash unstarted."""
    duration = timedelta(seconds=20 + number % 280)
    begun = end - duration
    failed = Entered("Failed", end, _FAILURES[number % len(_FAILURES)])
    history = [Entered("Pending", begun - timedelta(seconds=2)), Entered("Running", begun)]
    attempt = 1
    if number % 500 == 123:
        history = [history[0], Entered("Crashed", end, "Flow run infrastructure could not be started")]
    elif number % 100 == 50:
        attempt = 2
        first_end, again = begun + duration / 3, begun + duration / 2
        history += [failed._replace(at=first_end), Entered("AwaitingRetry", first_end + timedelta(milliseconds=5))]
        history += [Entered("Retrying", again), Entered("Completed", end)]
    elif number % 100 in {17, 43, 88}:
        history.append(failed)
    else:
        history.append(Entered("Completed", end))
    run_id = add_flow_run(
        batch,
        place.flow_id,
        history,
        deployment_id=place.deployment_id,
        work_queue_id=place.work_queue_id,
    )
    if with_tasks:
        _add_tasks(batch, run_id, number, end, duration, attempt, failed=history[-1].name == "Failed")


def _add_tasks(
    batch: Batch, run_id: str, number: int, end: datetime, duration: timedelta, attempt: int, *, failed: bool
) -> None:
    """In a hundred task runs one is cached, one is retried; the last one of a failed run has failed."""
    share = duration / (len(TASKS) + 1)
    for place, task in enumerate(TASKS):
        task_end = end - share * (len(TASKS) - 1 - place) - timedelta(milliseconds=10)
        serial = number * len(TASKS) + place
        state = "Failed" if failed and place == len(TASKS) - 1 else "Cached" if serial % 100 == 1 else "Completed"
        states = task_history(
            task_end, state, duration=share * 0.9, attempts=2 if serial % 100 == 2 else 1, message="ValueError: no"
        )
        task_id = add_task_run(batch, task, run_id, states, flow_run_attempt=attempt)
        if place == 0:
            line = f'METRIC: rows_loaded{{table="orders"}}={number % 1000}'
            add_log(batch, task_end, line, flow_run_id=run_id, task_run_id=task_id)


def _add_active(batch: Batch, place: Place, since: datetime) -> None:
    history = [Entered("Pending", since - timedelta(seconds=2)), Entered("Running", since)]
    add_flow_run(batch, place.flow_id, history, deployment_id=place.deployment_id, work_queue_id=place.work_queue_id)
