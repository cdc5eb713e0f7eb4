"""The pipeline everything else hangs on: extract, transform, load, then the dashboards that read its tables.

What it shows: a bottleneck (extract takes most of the run), numbers of your own as METRIC log lines, and one
deployment that starts another.
"""

from random import randint, uniform
from time import sleep

from prefect import flow, get_run_logger, task
from prefect.deployments import run_deployment


@task
def extract() -> int:
    sleep(uniform(6.5, 8))
    rows = randint(9_000, 11_000)
    get_run_logger().info("METRIC: rows_extracted=%d", rows)
    return rows


@task
def transform(rows: int) -> int:
    sleep(2)
    rejected = randint(0, rows // 100)
    # One line may carry several pairs, and other words may stand before them.
    get_run_logger().info("dbt run is done. METRIC: rows_transformed=%d rows_rejected=%d", rows - rejected, rejected)
    return rows - rejected


@task
def load(rows: int) -> None:
    sleep(1)
    customers = rows // 10
    # Labels in braces become labels of the metric.
    for table, loaded in (("orders", rows - customers), ("customers", customers)):
        get_run_logger().info('METRIC: rows_loaded{table="%s"}=%d', table, loaded)


@flow(name="dbt-daily-pipeline")
def dbt_daily_pipeline() -> None:
    load(transform(extract()))
    # Not a subflow: the refresh is a run of its own, and this pipeline does not wait for it.
    run_deployment("lightdash-refresh/prod", timeout=0, as_subflow=False)
