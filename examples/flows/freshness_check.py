"""Looks at how old the tables are.

What it shows: a quiet, healthy flow, as most of yours are.
"""

from random import randint
from time import sleep

from prefect import flow, get_run_logger, task


@task
def check(table: str) -> None:
    sleep(0.5)
    get_run_logger().info('METRIC: table_age_seconds{table="%s"}=%d', table, randint(60, 600))


@flow(name="freshness-check")
def freshness_check() -> None:
    for table in ("orders", "customers"):
        check(table)
