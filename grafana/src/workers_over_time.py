"""Pools, queues and limits along time."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as model

from grafana.src.fields import coloured_by_state, with_room
from grafana.src.panels import lines, over_time
from grafana.src.pools import BY_POOL, by_limit, by_pool, by_queue, of_pools


def late_by_pool() -> model.Panel:
    late = f"sum by ({BY_POOL}) ({by_queue('prefect_work_queue_late_runs')})"
    panel = lines(
        "Late runs by pool",
        "Runs that wait for a worker. A hill at each full hour: too few workers or slots for the schedules; spread "
        "them. A line that only rises: nobody takes runs any more.",
        over_time(late, "{{work_pool}}"),
        decimals=0,
        fill=10,
    )
    return with_room(panel, 3)


def workers_by_pool() -> model.Panel:
    panel = lines(
        "Workers online by pool",
        "A pool whose line falls to 0 starts nothing. Up and down all day: workers are killed and replaced; see "
        "their logs.",
        over_time(by_pool("prefect_work_pool_workers", 'state="online"'), "{{work_pool}}"),
        decimals=0,
    )
    return with_room(panel, 3)


def under_way() -> model.Panel:
    panel = lines(
        "Runs under way, by state",
        "All pools together. Late and pending rise while running stays flat: the ceiling of workers or slots is "
        "reached.",
        over_time(f"sum by (state) ({of_pools('work_pool_state:prefect_flow_runs:sum')})", "{{state}}"),
        decimals=0,
    )
    return with_room(coloured_by_state(panel), 3)


def slots_taken() -> model.Panel:
    taken = f"{by_pool('prefect_work_pool_slots_used')} / {by_pool('prefect_work_pool_slots')}"
    limits = f"{by_limit('prefect_concurrency_limit_slots_used')} / ({by_limit('prefect_concurrency_limit_slots')} > 0)"
    return lines(
        "Slots taken, by pool and limit",
        "Share of the slots in use. At 100 % for long while runs wait: raise the limit, or make the runs shorter; at "
        "100 % with nothing running, a slot was never given back.",
        over_time(taken, "pool {{work_pool}}"),
        over_time(f"topk(5, {limits})", "limit {{limit}}"),
        unit="percentunit",
        decimals=0,
        high=1,
    )


def start_delay() -> model.Panel:
    return lines(
        "Start delay, p95 of 7 days",
        "From when a run was to start until it ran: 95 % of a week's runs waited at most so long, of each pool the "
        "pipeline that waits longest. Seconds are normal for processes, a minute or two for containers. Growing: "
        "images, nodes or workers are short.",
        over_time(by_pool("work_pool:prefect_flow_run_start_delay_seconds:p95_7d"), "{{work_pool}}"),
        unit="s",
        bridge=True,
    )


def heartbeats() -> model.Panel:
    age = f"time() - {by_pool('prefect_work_pool_last_heartbeat_timestamp_seconds')}"
    return lines(
        "Since the last heartbeat, by pool",
        "Saw teeth below the workers' heartbeat interval are healthy. A line that climbs: no worker of the pool is "
        "alive.",
        over_time(age, "{{work_pool}}"),
        unit="s",
    )
