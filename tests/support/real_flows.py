"""Runs real flows once, with every fate of a task that metrics distinguish. `real_flows.py PREFIX`, PREFECT_API_URL.

tests/integration/test_tasks.py has the expected numbers.
"""

import sys
from typing import Any

from prefect import flow, get_run_logger, task, unmapped
from prefect.cache_policies import INPUTS
from prefect.transactions import transaction

PREFIX = sys.argv[1]


def edited(times: int) -> Any:
    """A task in two versions: the same name, different code."""
    if times == 1:

        @task(name="reworked")
        def reworked() -> int:
            return 1

        return reworked

    @task(name="reworked")
    def reworked_since() -> int:
        return 2 + 2

    return reworked_since


@task
def extract(rows: int) -> int:
    get_run_logger().info("METRIC: rows_extracted=%d", rows)
    return rows


@task(retries=2, retry_delay_seconds=0)
def flaky(seen: list[int]) -> None:
    seen.append(1)
    if len(seen) < 3:
        raise TimeoutError(f"timed out waiting for the warehouse, attempt {len(seen)}")


@task(retries=1, retry_delay_seconds=0)
def hopeless() -> None:
    raise ConnectionError("connection refused by the warehouse")


@task(cache_policy=INPUTS, persist_result=True)
def cached(prefix: str) -> str:
    return prefix


@task(task_run_name="load-{table}-of-{prefix}")
def load_table(table: str, prefix: str) -> None:
    get_run_logger().info('METRIC: rows_loaded{table="%s"}=%s', table, "1_000" if table == "orders" else "2.5e2")


@task(name="Check rows")
def check(number: int) -> int:
    return number


@task
def stage() -> None:
    pass


@stage.on_rollback
def unstage(transaction: Any) -> None:
    pass


@task
def publish() -> None:
    raise ValueError("schema drift")


@flow(name=f"{PREFIX}child")
def child() -> None:
    extract(5)


@flow(name=f"{PREFIX}pipeline")
def pipeline() -> None:
    extract(1234)
    flaky([])
    hopeless(return_state=True)
    cached(PREFIX)
    cached(PREFIX)
    load_table("orders", PREFIX)
    load_table("customers", PREFIX)
    check.map([1, 2, 3]).wait()
    load_table.map(["a", "b"], unmapped(PREFIX)).wait()
    edited(1)()
    edited(2)()
    child()
    log = get_run_logger()
    log.info("Done. METRIC: total=7 METRIC bad")
    log.info("METRIC: bad-name=1 broken= worst=nan fine=-2")


@flow(name=f"{PREFIX}rollback")
def rollback() -> None:
    with transaction():
        stage()
        publish()


@flow(name=f"{PREFIX}again", retries=1, retry_delay_seconds=0)
def again(seen: list[int]) -> None:
    extract(1)
    seen.append(1)
    if len(seen) == 1:
        raise RuntimeError("once more")


@task(name=f"{PREFIX}alone")
def alone() -> None:
    get_run_logger().info("METRIC: alone=1")


if __name__ == "__main__":
    alone()  # first: after a flow, Prefect would assign it to the flow
    pipeline()
    rollback(return_state=True)
    again([])
