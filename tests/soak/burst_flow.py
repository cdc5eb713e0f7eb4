"""Runs a flow whose tasks all run at once. `burst_flow.py TASKS`, with PREFECT_API_URL."""

import sys

from prefect import flow, get_run_logger, task


@task
def load(_number: int) -> None:
    get_run_logger().info("METRIC: rows=3")


@flow
def burst(tasks: int) -> None:
    load.map(range(tasks)).wait()


if __name__ == "__main__":
    burst(int(sys.argv[1]))
