"""Rewrites the warehouse's small files, for minutes.

What it shows: a long run, so the age of what is running now can be seen, and a task that takes all of it.
"""

from time import sleep

from prefect import flow, get_run_logger, task


@task
def compact(minutes: int) -> None:
    for minute in range(1, minutes + 1):
        sleep(60)
        get_run_logger().info("METRIC: compacted_ratio=%.2f", minute / minutes)


@flow(name="warehouse-compaction")
def warehouse_compaction(minutes: int = 4) -> None:
    compact(minutes)
