"""Loads a week of partitions at once.

What it shows: mapped tasks. One task of the code is seven task runs that overlap.
"""

from random import uniform
from time import sleep

from prefect import flow, task


@task
def load_partition(days_ago: int) -> int:
    sleep(uniform(0.5, 2))
    return days_ago


@flow(name="partition-backfill")
def partition_backfill(days: int = 7) -> None:
    load_partition.map(range(days)).result()
