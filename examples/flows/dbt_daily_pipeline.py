"""The pipeline everything else hangs on: extract, transform, load, then the dashboards that read its tables.

What it shows: a bottleneck (extract takes most of the run), custom metrics, objectives, a trend store, and one
deployment that starts another. Slack and CloudWatch are used where their settings are there; the demo has neither.
docs/flows.md walks through it.
"""

import os
from random import randint, uniform
from statistics import mean
from time import monotonic, sleep

from prefect import flow, get_run_logger, task
from prefect.deployments import run_deployment
from prefect.settings import PREFECT_HOME

from prefect_monitoring.flows import (
    archive_logs,
    emit_metric,
    push_cloudwatch,
    record_rows,
    slack_crashed,
    slack_failure,
    slo,
)
from prefect_monitoring.flows.blocks import PipelineMetrics

NAME = "dbt-daily-pipeline"
SLACK = os.environ.get("SLACK_BLOCK")  # the name of a Slack webhook block, such as data-alerts
ARCHIVE = os.environ.get("RUN_ARCHIVE", (PREFECT_HOME.value() / "run-archive").as_uri())  # or s3://bucket/prefix
HAS_AWS = "AWS_DEFAULT_REGION" in os.environ
FEW_ROWS = 0.5  # of the month's average


@task
def extract() -> int:
    sleep(uniform(6.5, 8))
    rows = randint(9_000, 11_000)
    emit_metric("rows_extracted", rows)
    return rows


@task
def transform(rows: int) -> int:
    sleep(2)
    rejected = randint(0, rows // 100)
    # Without the helper, too: one line may carry several pairs, and other words may stand before them.
    get_run_logger().info("dbt run is done. METRIC: rows_transformed=%d rows_rejected=%d", rows - rejected, rejected)
    return rows - rejected


@task
@slo(max_duration="10m", max_rows=1_000_000, slack=SLACK)
def load(rows: int) -> None:
    sleep(1)
    customers = rows // 10
    for table, loaded in (("orders", rows - customers), ("customers", customers)):
        emit_metric("rows_loaded", loaded, table=table)
        record_rows(loaded)
        if HAS_AWS:
            push_cloudwatch("RowsLoaded", loaded, "Count", Table=table)


def compare_with_last_month(rows: int, seconds: float) -> None:
    trend = PipelineMetrics.open(NAME)
    average = mean([point["row_count"] or 0 for point in trend.recent(days=30)] or [rows])
    if rows < FEW_ROWS * average:
        get_run_logger().warning("%d rows, %.0f on average over the last month", rows, average)
    trend.record(row_count=rows, duration_seconds=seconds)


@flow(
    name=NAME,
    on_failure=[*([slack_failure(SLACK)] if SLACK else []), archive_logs(ARCHIVE)],
    on_crashed=[*([slack_crashed(SLACK)] if SLACK else []), archive_logs(ARCHIVE)],
    on_completion=[archive_logs(ARCHIVE)],
)
def dbt_daily_pipeline() -> None:
    begun = monotonic()
    rows = transform(extract())
    load(rows)
    compare_with_last_month(rows, monotonic() - begun)
    # Not a subflow: the refresh is a run of its own, and this pipeline does not wait for it.
    run_deployment("lightdash-refresh/prod", timeout=0, as_subflow=False)
