"""The seeded server: flows, deployments, pools, limits and the histories of runs."""

from __future__ import annotations

from golden.model import identity, iso
from golden.seed import DAY, HOUR, MINUTE, NOW, YESTERDAY, Seed
from golden.stories import add_flow_runs
from golden.task_stories import add_task_runs

ODD = 'we"ird\\flow ✓'


def make_seed() -> Seed:
    seed = Seed()
    _flows(seed)
    _pools(seed)
    _limits(seed)
    add_flow_runs(seed)
    add_task_runs(seed)
    return seed


def _flows(seed: Seed) -> None:
    names = ("orders-etl", "finance-report", "sync-crm", "ml-training", "warehouse", "load-table", "notebook")
    for name in (*names, "old-exports", "mailing", "scratch-pad", "never-ran", ODD, "crm-import"):
        seed.flow(name)
    seed.deployment("orders-etl", "hourly", tags=("critical", "team:sales", "hourly", "secret"), cron="5 * * * *")
    seed.deployment("finance-report", "daily", queue="high", tags=("team:finance", "daily"), cron="0 6 * * *")
    seed.deployment("sync-crm", "eu", tags=("env:prod",))
    seed.deployment("sync-crm", "us", ready=False)
    seed.deployment("ml-training", "weekly", pool="ecs", queue=None, paused=True, cron="0 3 * * 1")
    seed.deployment("warehouse", "nightly", cron="30 1 * * *")
    seed.deployment("old-exports", "legacy", deleted_at=NOW - 6 * HOUR)
    seed.deployment("mailing", "daily", cron="30 9 * * *", tags=("low",))
    seed.deployment("crm-import", "main")
    seed.deployment("scratch-pad", "mine")
    seed.deployment("never-ran", "idle", pool=None, queue=None)
    seed.deployment(ODD, 'de"ploy')


def _pools(seed: Seed) -> None:
    for name, kind, status, slots, used in (
        ("k8s", "kubernetes", "READY", 10, 3),
        ("ecs", "ecs:push", "READY", None, 1),
        ("spare", "process", "PAUSED", None, 0),
        ("dark", "docker", "NOT_READY", 4, 0),
    ):
        row = {"type": kind, "is_paused": status == "PAUSED", "status": status}
        seed.thing("work_pools", name, name=name, concurrency_limit=slots, active_slots=used, **row)
    for pool, name, paused, limit, polled in (
        ("k8s", "default", False, None, NOW - 15),
        ("k8s", "high", False, 2, NOW - 20),
        ("spare", "default", True, None, None),
        ("dark", "default", False, None, NOW - 3 * HOUR),
    ):
        row = {"is_paused": paused, "concurrency_limit": limit, "last_polled": iso(polled)}
        status = "PAUSED" if paused else "READY" if polled and polled > NOW - HOUR else "NOT_READY"
        of = {"work_pool_name": pool, "work_pool_id": identity("work_pools", pool)}
        seed.thing("work_queues", pool, name, name=name, status=status, **of, **row)
    for pool, name, status, beat in (
        ("k8s", "one", "ONLINE", NOW - 5),
        ("k8s", "two", "ONLINE", NOW - 25),
        ("k8s", "old", "OFFLINE", NOW - 2 * DAY),
        ("dark", "gone", "OFFLINE", NOW - 3 * HOUR),
    ):
        row = {"name": name, "status": status, "last_heartbeat_time": iso(beat)}
        of = {"work_pool_id": identity("work_pools", pool)}
        seed.thing("workers", pool, name, **of, **row)


def _limits(seed: Seed) -> None:
    deployment = next(row["id"] for row in seed.rows(NOW)["deployments"] if row["name"] == "hourly")
    for name, slots, used, active in (
        ("warehouse", 5, 3, True),
        ("off", 2, 0, False),
        (f"deployment:{deployment}", 1, 1, True),
    ):
        seed.thing("concurrency_limits", name, name=name, limit=slots, active_slots=used, active=active)
    for name, enabled in (("tell", True), ("mend", True), ("off", False)):
        seed.thing("automations", name, name=name, enabled=enabled, created=iso(YESTERDAY - MINUTE))
