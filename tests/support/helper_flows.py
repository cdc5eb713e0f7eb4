"""Runs flows that use the helpers of `prefect_monitoring.flows` once: `helper_flows.py PLAN`, a JSON object.

PLAN: `part`, one of the functions at the end, `prefix` for the names of flows, and the options of that part. The
observations of the flows are written to `result.json` in the working directory.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.assets import add_asset_metadata, materialize
from prefect.client.schemas.objects import State
from prefect.variables import Variable
from prefect_slack import SlackWebhook

from prefect_monitoring.flows import (
    archive_logs,
    emit_metric,
    notify_slack,
    push_cloudwatch,
    record_rows,
    slack_failure,
    slack_success,
    slo,
)
from prefect_monitoring.flows.blocks import PipelineMetrics

PLAN: dict[str, Any] = json.loads(sys.argv[1])
PREFIX = PLAN["prefix"]


def result(**values: object) -> None:
    Path("result.json").write_text(json.dumps(values))


@task
def in_task(number: int) -> None:
    emit_metric("rows_loaded", number, table='or"ders')


@task
async def in_async_task() -> None:
    emit_metric("rows_loaded", 7)


@flow(name=f"{PREFIX}child")
def child() -> None:
    emit_metric("rows_loaded", 11)


@flow(name=f"{PREFIX}async-child")
async def async_child() -> None:
    emit_metric("rows_loaded", 13)


@flow(name=f"{PREFIX}sync")
def sync_flow() -> None:
    emit_metric("rows_loaded", 1)
    in_task(2)
    in_task.map([4, 8, 16]).wait()
    child()


@flow(name=f"{PREFIX}async")
async def async_flow() -> None:
    emit_metric("rows_loaded", 3)
    await asyncio.gather(in_async_task(), in_async_task())
    await async_child()


def metrics() -> None:
    emit_metric("rows_loaded", 1000)
    sync_flow()
    asyncio.run(async_flow())
    in_task(5)
    result()


@task
def load(rows: int) -> None:
    record_rows(rows)


@flow(name=f"{PREFIX}slo")
@slo(max_rows=10, max_duration="1h", slack=PLAN.get("block"))
def with_objective() -> str:
    load.map([6, 7]).wait()
    with slo(max_rows=100, name="small step"):
        load(3)
    return "kept"


@flow(name=f"{PREFIX}slo-async")
@slo(max_rows=1)
async def async_with_objective() -> None:
    record_rows(2)


@task(name="alone")
@slo(max_rows=1)
def task_with_objective() -> None:
    record_rows(2)


def objectives() -> None:
    save_webhook()
    answer = with_objective()
    asyncio.run(async_with_objective())
    task_with_objective()
    result(answer=answer)


def timed(hook: Callable[..., None], seconds: list[float]) -> Callable[..., None]:
    def timed_hook(*arguments: Any) -> None:
        begun = time.monotonic()
        hook(*arguments)
        seconds.append(time.monotonic() - begun)

    return timed_hook


def save_webhook() -> None:
    SlackWebhook(url=PLAN["webhook"]).save(PLAN["block"], overwrite=True)


def webhook() -> None:
    save_webhook()
    result()


def slack() -> None:
    save_webhook()
    seconds: list[float] = []
    failure = timed(slack_failure(PLAN["block"]), seconds)
    success = timed(slack_success(PLAN["block"]), seconds)

    @task(name="hopeless", on_failure=[failure])
    def hopeless() -> None:
        raise ConnectionError("<@U1> refused")

    @flow(name=f"{PREFIX}fails", on_failure=[failure])
    def fails() -> None:
        hopeless(return_state=True)
        raise ValueError("<!channel> no rows in postgresql://etl:hunter2@db/dwh")

    @flow(name=f"{PREFIX}async-fails", on_failure=[failure])
    async def async_fails() -> None:
        raise KeyError("orders")

    @flow(name=f"{PREFIX}completes", on_completion=[success])
    def completes() -> tuple[int, bool]:
        return 42, notify_slack(PLAN["block"], "*late* today")

    states: list[State[Any]] = [fails(return_state=True), asyncio.run(async_fails(return_state=True))]
    answer, was_sent = completes()
    result(states=[state.name for state in states], answer=answer, was_sent=was_sent, seconds=seconds)


def archive() -> None:
    hook = archive_logs(PLAN["to"], parameters=PLAN["parameters"], max_seconds=PLAN["max_seconds"])
    seconds: list[float] = []

    @task(retries=1, retry_delay_seconds=0)
    def flaky(seen: list[int]) -> None:
        seen.append(1)
        if len(seen) < 2:
            raise TimeoutError("password=hunter2")

    @flow(name=f"{PREFIX}archived", on_completion=[timed(hook, seconds)], on_failure=[timed(hook, seconds)])
    def archived(lines: int, api_key: str, dsn: str) -> int:
        flaky([])
        for number in range(lines):
            get_run_logger().info("line %d", number)
        return lines

    answer = archived(PLAN["lines"], "k3y-of-mine", "postgresql://etl:hunter2@db/dwh")
    result(answer=answer, seconds=seconds)


def record() -> None:
    block = PipelineMetrics.load(PLAN["block"])

    @flow(name=f"{PREFIX}records", log_prints=False)
    def records() -> None:
        for number in range(PLAN["times"]):
            block.record(row_count=PLAN["first"] + number, duration_seconds=1.5)

    records()
    result()


def declared() -> None:
    block, asset = PipelineMetrics.open(PLAN["block"]), PLAN["asset"]

    @materialize(asset)
    def load(rows: int) -> None:
        add_asset_metadata(asset, {"row_count": rows, "owner": "data"})

    @flow(name=f"{PREFIX}declared")
    def reports() -> None:
        for rows in PLAN["rows"]:
            emit_metric("rows_loaded", rows, table="orders", shard=str(rows))
            emit_metric("load_seconds", rows, table="orders")
            block.record(row_count=rows)
            load(rows)
        trend = Variable.get(PLAN["variable"], default=[])
        trend += [{"timestamp": f"2026-01-05T12:00:{rows:02}Z", "duration_seconds": rows} for rows in PLAN["rows"]]
        Variable.set(PLAN["variable"], trend, overwrite=True)

    reports()
    result()


def cloudwatch() -> None:
    @task
    def push(number: int) -> None:
        push_cloudwatch("RowsLoaded", number, "Count", Table="orders")

    @flow(name=f"{PREFIX}pushes")
    def pushes() -> int:
        push.map(list(range(10))).wait()
        begun = time.monotonic()
        for number in range(1000):
            push_cloudwatch("RowsLoaded", number, "Count", Table="orders")
        result(seconds=time.monotonic() - begun)
        return 42

    assert pushes() == 42


if __name__ == "__main__":
    parts = (metrics, objectives, webhook, slack, archive, record, declared, cloudwatch)
    {part.__name__: part for part in parts}[PLAN["part"]]()
