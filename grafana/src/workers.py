"""Whether runs can start: pools, workers, queues, slots and limits, and the runs that wait for them."""

from __future__ import annotations

from typing import Final

from grafana_foundation_sdk.models import dashboard as model

from grafana.src import variables
from grafana.src import workers_over_time as curves
from grafana.src.colours import BAD, CALM, COUNT_IS_BAD, COUNT_IS_WATCHED, GOOD, WATCH, steps
from grafana.src.layout import band, board
from grafana.src.panels import now, stats
from grafana.src.pools import BY_POOL, BY_QUEUE, by_limit, by_pool, by_queue, of_pools, waiting
from grafana.src.promql import BY_PIPELINE, of_workspaces, or_zero
from grafana.src.tables import PIPELINE_COLUMNS, WORKSPACE, Column, rows, table

HEARTBEAT_AGE: Final = steps(GOOD, (120.0, WATCH), (600.0, BAD))
POLL_AGE: Final = steps(GOOD, (60.0, WATCH), (300.0, BAD))
SLOTS_TAKEN: Final = steps(GOOD, (0.8, WATCH), (1.0, BAD))
LATE: Final = steps(GOOD, (60.0, WATCH), (300.0, BAD))
READY: Final = {"0": ("not ready", BAD), "1": ("ready", GOOD), "2": ("paused", CALM)}


def _readiness(ready_metric: str, paused: str, by: str) -> str:
    """0 not ready, 1 ready, 2 paused on purpose."""
    ready, is_paused = (f"max by ({by}) ({of_pools(metric)})" for metric in (ready_metric, paused))
    return f"clamp_max({ready} + 2 * {is_paused}, 2)"


def _pools_not_ready() -> model.Panel:
    down = f"{by_pool('prefect_work_pool_ready')} == bool 0"
    return stats(
        "Unready pools",
        "Work pools for which no worker is online, paused ones left out. Above 0: start a worker (`prefect worker "
        "start --pool …`), or see why the last one went.",
        now(f"sum({down} unless on ({BY_POOL}) {by_pool('prefect_work_pool_paused')} == 1)"),
        steps=COUNT_IS_BAD,
    )


def _workers_online() -> model.Panel:
    return stats(
        "Workers online",
        "Workers that sent their heartbeat in time. Fewer than you run: look at the host or the pods of those missing.",
        now(f"sum({by_pool('prefect_work_pool_workers', 'state=`online`')})"),
    )


def _late_runs() -> model.Panel:
    return stats(
        "Late runs",
        "Runs that should have started and were not picked up. Above 0 for more than a minute: the tables below show "
        "which pool or queue they wait in.",
        now(or_zero(f"sum({waiting('late')})", live=True)),
        steps=COUNT_IS_BAD,
    )


def _latest() -> model.Panel:
    oldest = of_workspaces("prefect_flow_run_oldest_state_timestamp_seconds", 'state="late"')
    return stats(
        "Max lateness",
        "How long the first of the late runs has been waiting, over all pools; 0 when none is late. Minutes: a "
        "worker is busy or gone.",
        now(or_zero(f"time() - min({oldest})", live=True)),
        unit="s",
        decimals=0,
        steps=LATE,
    )


def _waiting_for_slots() -> model.Panel:
    return stats(
        "Awaiting slots",
        "Runs that a concurrency limit holds back. A limit at work is no fault; when it lasts, raise the limit or "
        "spread the schedules.",
        now(or_zero(f"sum({waiting('awaiting_concurrency_slot')})", live=True)),
        steps=COUNT_IS_WATCHED,
    )


def _full_limits() -> model.Panel:
    used, slots = (by_limit(f"prefect_concurrency_limit_slots{end}") for end in ("_used", ""))
    return stats(
        "Full limits",
        "Concurrency limits all of whose slots are taken. Full while nothing runs: a crashed run kept its slot; free "
        "it in Prefect under Concurrency.",
        now(or_zero(f"sum({used} >= bool {slots})", live=True)),
        steps=COUNT_IS_WATCHED,
    )


def _pools() -> model.Panel:
    late = f"sum by ({BY_POOL}) ({waiting('late')})"
    running = f"sum by ({BY_POOL}) ({waiting('running|retrying')})"
    heartbeat = by_pool("prefect_work_pool_last_heartbeat_timestamp_seconds")
    everywhere = f"0 * {by_pool('prefect_work_pool_ready')}"
    return table(
        "Work pools",
        "Not ready: no worker is online. Late runs beside ready: all slots are taken, or a queue is not polled. Push "
        "and managed pools have no workers and send no heartbeats.",
        rows(f"max by ({BY_POOL}, type) ({of_pools('prefect_work_pool_info')})"),
        rows(_readiness("prefect_work_pool_ready", "prefect_work_pool_paused", BY_POOL)),
        rows(by_pool("prefect_work_pool_workers", 'state="online"')),
        rows(by_pool("prefect_work_pool_workers", 'state="offline"')),
        rows(f"time() - {heartbeat}"),
        rows(f"{running} or {everywhere}"),
        rows(f"{late} or {everywhere}"),
        rows(by_pool("prefect_work_pool_slots")),
        rows(f"{by_pool('prefect_work_pool_slots_used')} / {by_pool('prefect_work_pool_slots')}"),
        columns=(
            WORKSPACE,
            Column("work_pool", "Work pool"),
            Column("type", "Type", width=130),
            Column("Value #B", "State", width=80, texts=READY),
            Column("Value #C", "Online", unit="short", width=65),
            Column("Value #D", "Offline", unit="short", width=70),
            Column("Value #E", "Last heartbeat, ago", unit="s", decimals=0, width=160, steps=HEARTBEAT_AGE),
            Column("Value #F", "Running", unit="short", width=75),
            Column("Value #G", "Late", unit="short", width=60, steps=COUNT_IS_BAD),
            Column("Value #H", "Slots", unit="short", width=60),
            Column(
                "Value #I",
                "Slots taken",
                unit="percentunit",
                decimals=0,
                width=110,
                steps=SLOTS_TAKEN,
                bar=True,
                full=1.0,
            ),
        ),
        sort="Late",
    )


def _queues() -> model.Panel:
    polled = by_queue("prefect_work_queue_last_polled_timestamp_seconds")
    return table(
        "Work queues",
        "Late runs in a queue that nobody asked for minutes: its workers ask other queues only, or there is none. A "
        "paused queue hands out nothing until somebody resumes it.",
        rows(_readiness("prefect_work_queue_ready", "prefect_work_queue_paused", BY_QUEUE)),
        rows(by_queue("prefect_work_queue_late_runs")),
        rows(f"time() - {polled}"),
        rows(by_queue("prefect_work_queue_slots")),
        columns=(
            WORKSPACE,
            Column("work_pool", "Work pool"),
            Column("work_queue", "Queue"),
            Column("Value #A", "State", width=80, texts=READY),
            Column("Value #B", "Late", unit="short", width=55, steps=COUNT_IS_BAD),
            Column("Value #C", "Asked, ago", unit="s", decimals=0, width=95, steps=POLL_AGE),
            Column("Value #D", "Slots", unit="short", width=60),
        ),
        sort="Late",
    )


def _limits() -> model.Panel:
    used, slots = (by_limit(f"prefect_concurrency_limit_slots{end}") for end in ("_used", ""))
    return table(
        "Concurrency limits",
        "A deployment's own limit is called flow/deployment. Full for long, with nothing running: a crashed run kept "
        "its slot; free it in Prefect under Concurrency.",
        rows(slots),
        rows(used),
        rows(f"{used} / ({slots} > 0)"),
        columns=(
            WORKSPACE,
            Column("limit", "Limit"),
            Column("Value #A", "Slots", unit="short", width=80),
            Column("Value #B", "Taken", unit="short", width=80),
            Column(
                "Value #C", "Share", unit="percentunit", decimals=0, width=170, steps=SLOTS_TAKEN, bar=True, full=1.0
            ),
        ),
        sort="Share",
    )


def _late_table() -> model.Panel:
    states = "late|pending|submitting|infrastructure_pending|awaiting_concurrency_slot|cancelling"
    oldest = of_workspaces("prefect_flow_run_oldest_state_timestamp_seconds", f'state=~"{states}"')
    runs = waiting(states)
    since = f"time() - min by ({BY_PIPELINE}, state) ({oldest})"
    return table(
        "Waiting now",
        "Runs that have not begun to run, the longest wait first. Late: no worker took it. Pending for long: its "
        "container does not come up; see the events of the pod or host. Waiting for a slot: see the limits.",
        rows(runs),
        rows(f"{since} + on ({BY_PIPELINE}, state) group_right () 0 * {runs}"),
        columns=(
            *PIPELINE_COLUMNS,
            Column("work_pool", "Work pool", width=130),
            Column("state", "State", width=190),
            Column("Value #A", "Runs", unit="short", width=60),
            Column("Value #B", "The first since", unit="s", decimals=0, width=130, steps=LATE),
        ),
        sort="The first since",
        all_good="No waiting run is known.",
    )


def dashboard() -> model.Dashboard:
    return board(
        uid="prefect-workers",
        title="Workers and queues",
        description="Can runs start: pools, workers, queues, slots and limits, and what waits for them.",
        variables=[variables.datasource(), variables.workspace(), variables.work_pool()],
        since="now-6h",
        bands=[
            band(
                4,
                (_pools_not_ready(), 4),
                (_workers_online(), 4),
                (_late_runs(), 4),
                (_latest(), 4),
                (_waiting_for_slots(), 4),
                (_full_limits(), 4),
            ),
            band(6, (_pools(), 24)),
            band(7, (_queues(), 12), (_limits(), 12)),
            band(7, (_late_table(), 24)),
            band(8, (curves.late_by_pool(), 12), (curves.under_way(), 12), heading="Over time"),
            band(8, (curves.workers_by_pool(), 12), (curves.heartbeats(), 12)),
            band(8, (curves.slots_taken(), 12), (curves.start_delay(), 12)),
        ],
    )
