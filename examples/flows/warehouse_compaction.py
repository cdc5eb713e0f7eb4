"""Rewrites the warehouse's small files, for most of a minute.

What it shows: a long run, so the age of what is running now can be seen, a task that takes all of it, and slots that
the exporter adds to the work pool (`scale` in the pipelines file) until the run has ended.
"""

from time import sleep

from prefect import flow, get_run_logger, task

STEP_SECONDS = 10


@task
def compact(steps: int) -> None:
    for step in range(1, steps + 1):
        sleep(STEP_SECONDS)
        get_run_logger().info("METRIC: compacted_ratio=%.2f", step / steps)


@flow(name="warehouse-compaction")
def warehouse_compaction(steps: int = 5) -> None:
    compact(steps)
