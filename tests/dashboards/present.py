"""The present state of the team's server, which history does not have: workers, slots, active and stuck runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from dashboards import team
from dashboards.month import Place, new_batch
from dashboards.team import Pipeline
from support.bulk import Batch, Entered, add_flow_run, add_log, add_task_run, bulk_logs
from support.database import insert, update
from support.prefect_server import PrefectServer
from support.seeder import Seeder


@dataclass(frozen=True, slots=True)
class UnderWay:
    """A run that went through `states` (Prefect's names) and has been in the last of them for `minutes`."""

    pipeline: Pipeline
    states: tuple[str, ...]
    minutes: float
    task: str = ""  # the task that is running


RUNNING = ("Scheduled", "Pending", "Running")
LATE = ("Scheduled", "Late")
HEALTHY = (
    UnderWay(team.ORDERS, RUNNING, 2, "download"),
    UnderWay(team.CRM, RUNNING, 1, "call-api"),
    UnderWay(team.CUSTOMERS, ("Scheduled", "Pending"), 0.1),
)
IN_TROUBLE = (
    UnderWay(team.FINANCE, LATE, 95),
    UnderWay(team.QUALITY, LATE, 250),
    UnderWay(team.QUALITY, LATE, 10),
    UnderWay(team.ARCHIVE, LATE, 32),
    UnderWay(team.CRM, LATE, 48),
    UnderWay(team.FEATURES, ("Scheduled", "Pending"), 72),
    UnderWay(team.DBT, ("Scheduled", "AwaitingRetry"), 14),
    UnderWay(team.ORDERS, ("Scheduled", "AwaitingConcurrencySlot"), 81),
    UnderWay(team.ORDERS, ("Scheduled", "AwaitingConcurrencySlot"), 21),
    UnderWay(team.WEB_EVENTS[1], RUNNING, 9 * 60, "copy-partition"),
)


def furnish(api: Seeder) -> dict[Pipeline, Place]:
    """Creates pools, queues, flows, deployments, limits and automations; returns the place of each pipeline."""
    for pool, (kind, slots) in team.POOLS.items():
        api.work_pool(pool, type=kind, concurrency_limit=slots)
        for queue, limit in team.QUEUES.get(pool, {}).items():
            api.work_queue(pool, queue, concurrency_limit=limit)
    for name, slots in team.LIMITS.items():
        api.concurrency_limit(name, slots)
    for name, enabled in (("retry-crashed", True), ("scale-pool", True), ("pause-on-failure", False)):
        api.automation(name, enabled=enabled)
    minute = (datetime.now(UTC) - timedelta(minutes=5)).minute  # nothing is due within the next 55
    flows = {pipeline.flow: api.flow(pipeline.flow) for pipeline in team.TEAM}
    for pipeline in team.TEAM:
        if pipeline.deployment:
            api.deployment(
                flows[pipeline.flow],
                pipeline.deployment,
                work_pool=pipeline.pool,
                work_queue=pipeline.queue,
                cron=pipeline.cron(minute),
                tags=pipeline.tags,
                concurrency_limit=2 if pipeline is team.ORDERS else None,
            )
    rows = api.call("POST", "/deployments/filter", {"sort": "NAME_ASC"})
    place_of = {(row["flow_id"], row["name"]): Place(row["flow_id"], row["id"], row["work_queue_id"]) for row in rows}
    bare = Place("", None, None)
    places = {pipeline: place_of.get((flows[pipeline.flow], pipeline.deployment), bare) for pipeline in team.TEAM}
    return {one: place if place.flow_id else Place(flows[one.flow], None, None) for one, place in places.items()}


def keep_alive(api: Seeder, *, trouble: bool) -> None:
    """The heartbeats and polls of workers. In trouble, `on-premises` has no worker."""
    for pool, workers in team.WORKERS.items():
        if trouble and pool == "on-premises":
            continue
        for worker in workers:
            api.heartbeat(pool, worker, every=3600)
        api.poll_for_work(pool)


def set_up_present(server: PrefectServer, api: Seeder, places: Mapping[Pipeline, Place]) -> None:
    """Sets up a server without problems."""
    keep_alive(api, trouble=False)
    for limit, slots in ((f"deployment:{places[team.ORDERS].deployment_id}", 1), ("warehouse", 2), ("crm-api", 1)):
        api.take_slots(limit, slots)
    _add_runs(server, places, HEALTHY)


def get_into_trouble(server: PrefectServer, api: Seeder, places: Mapping[Pipeline, Place]) -> None:
    """Adds every problem to the server that set_up_present made."""
    for limit, slots in (("warehouse", 2), ("sftp", 1)):
        api.take_slots(limit, slots)
    _lose_worker(server, api)
    api.pause(work_pool="kubernetes", work_queue="backfills")
    api.pause(deployment_id=str(places[team.NEWSLETTER].deployment_id))
    _add_runs(server, places, IN_TROUBLE)
    for pipeline in (team.FINANCE, team.QUALITY):
        _fail(api, pipeline, places[pipeline])
    _become_overdue(server, api, team.FINANCE, places[team.FINANCE])


def add_outcomes(server: PrefectServer, api: Seeder, places: Mapping[Pipeline, Place]) -> list[str]:
    """Ends runs while Prometheus scrapes, so that counters without history grow too; failing pipelines recover.

    Returns the runs that failed.
    """
    broken = (team.ORDERS, team.CRM, team.QUALITY, team.BACKFILL)
    failed = [_fail(api, pipeline, places[pipeline]) for pipeline in broken]
    for pipeline in (team.CUSTOMERS, *broken):
        _complete(server, api, pipeline, places[pipeline])
    return failed


def resolve(api: Seeder, failed: Sequence[str]) -> None:
    """Marks the failed runs as completed, because they would be shown for five more minutes."""
    for run in failed:
        if api.read(run)["state_type"] == "FAILED":
            api.set_state(run, "COMPLETED", force=True)


def _fail(api: Seeder, pipeline: Pipeline, place: Place) -> str:
    run = api.run(place.flow_id, deployment_id=place.deployment_id)
    api.running(run)
    api.task_run(run, pipeline.steps[0].name, state="Failed")
    api.failed(run, pipeline.message)
    return run


def _complete(server: PrefectServer, api: Seeder, pipeline: Pipeline, place: Place) -> None:
    run = api.run(place.flow_id, deployment_id=place.deployment_id)
    api.running(run)
    for step in pipeline.steps:
        task_run = api.task_run(run, step.name)
        usual = ((one, (one.low + one.high) / 2) for one in step.metrics)
        lines = [(datetime.now(UTC), f"METRIC: {one.name}{one.labels}={value:.10g}") for one, value in usual]
        bulk_logs(server, lines, flow_run_id=run, task_run_id=task_run)
    api.completed(run)


def _become_overdue(server: PrefectServer, api: Seeder, pipeline: Pipeline, place: Place) -> None:
    """Changes the schedule so that a start is due soon and no worker makes it; the exporter reads the next start anew.

    The new schedule is daily at about this time, so that the start after these is a day ahead at any time of the day.
    """
    now = datetime.now(UTC)
    daily = now - timedelta(minutes=2)
    schedule = {"schedule": {"cron": f"{daily.minute} {daily.hour} * * *", "timezone": "UTC"}, "active": True}
    api.call("PATCH", f"/deployments/{place.deployment_id}", {"schedules": [schedule]})
    batch = new_batch()
    of = {"deployment_id": place.deployment_id, "work_queue_id": place.work_queue_id}
    for seconds in (6, 14):  # one of them is still ahead when the exporter asks
        due = [Entered("Scheduled", now + timedelta(seconds=seconds))]
        add_flow_run(batch, place.flow_id, due, **of, tags=["auto-scheduled"])
    insert(server, batch)


def _lose_worker(server: PrefectServer, api: Seeder) -> None:
    """The last heartbeat of the worker of `on-premises` is hours old."""
    (worker,) = team.WORKERS["on-premises"]
    api.heartbeat("on-premises", worker, every=1)
    (row,) = api.call("POST", "/work_pools/on-premises/workers/filter", {})
    (queue,) = api.call("POST", "/work_pools/on-premises/queues/filter", {})
    gone = datetime.now(UTC) - timedelta(hours=4.4)
    update(server, "worker", row["id"], "last_heartbeat_time", gone)
    update(server, "work_queue", queue["id"], "last_polled", gone)


def _add_runs(server: PrefectServer, places: Mapping[Pipeline, Place], runs: Sequence[UnderWay]) -> None:
    batch, now = new_batch(), datetime.now(UTC)
    for under_way in runs:
        _add_run(batch, under_way, places[under_way.pipeline], now)
    logged_at = now - timedelta(seconds=20)
    add_log(batch, logged_at, "METRIC: rows_extracted=none", flow_run_id=batch["flow_run"][0]["id"])
    insert(server, batch)


def _add_run(batch: Batch, one: UnderWay, place: Place, now: datetime) -> None:
    since = now - timedelta(minutes=one.minutes)
    history = [
        Entered(name, since - timedelta(seconds=3 * (len(one.states) - 1 - number)))
        for number, name in enumerate(one.states)
    ]
    run_id = add_flow_run(
        batch,
        place.flow_id,
        history,
        deployment_id=place.deployment_id,
        work_queue_id=place.work_queue_id,
        tags=one.pipeline.tags,
    )
    if one.task:
        begun = since + timedelta(seconds=5)
        add_task_run(
            batch, one.task, run_id, [Entered("Pending", begun - timedelta(seconds=1)), Entered("Running", begun)]
        )
