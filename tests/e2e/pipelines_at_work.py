"""The flows of the end-to-end test, run by a real worker."""

import os
import time
from pathlib import Path

from prefect import flow, get_run_logger, task
from prefect.context import get_run_context


def healed() -> bool:
    return Path(os.environ["E2E_HEALED"]).exists()


@task
def load(rows: int) -> int:
    get_run_logger().info("METRIC: rows_loaded=%d", rows)
    return rows


@flow
def nightly_load() -> int:
    """Fails with no retries until `healed`."""
    if not healed():
        raise ValueError('relation "orders" does not exist')
    return load(3)


@flow(retries=1, retry_delay_seconds=1)
def flaky_api() -> int:
    """Fails at first and completes on its retry."""
    if get_run_context().flow_run.run_count == 1:
        raise ConnectionError("503 from https://robot:hunter2@api.example.com/orders")
    return load(1)


@flow
def hourly_sync() -> None:
    raise TimeoutError("the warehouse did not answer")


@flow
def long_export() -> int:
    """Runs for far longer than its objective."""
    time.sleep(150)
    return load(2)
