"""Refreshes the dashboards after dbt-daily-pipeline; it has no schedule and is started by that flow.

What it shows: a downstream deployment, to be declared as such in a pipelines file.
"""

from random import randint
from time import sleep

from prefect import flow, get_run_logger, task


@task
def refresh_dashboards() -> None:
    sleep(2)
    get_run_logger().info("METRIC: dashboards_refreshed=%d", randint(10, 14))


@flow(name="lightdash-refresh")
def lightdash_refresh() -> None:
    refresh_dashboards()
