"""Downloads prices from a supplier whose first answer is always a timeout, and who is down every other time.

What it shows: a retry by the exporter (`retry` in the pipelines file), which saves one run and is exhausted by the next
one. Then margin-report, which reads these prices, is paused until a run completes.
"""

from time import sleep

from prefect import flow, task
from prefect.runtime import flow_run

OUTAGE_SECONDS = 40  # the demo starts a run in each


@task
def download_prices(attempt: int, *, is_down: bool) -> None:
    sleep(1)
    if is_down or attempt == 1:
        raise ConnectionError("504 Gateway Timeout: the supplier did not answer")


@flow(name="supplier-prices")
def supplier_prices() -> None:
    # When the run was due, which a retry does not change.
    period = int(flow_run.scheduled_start_time.timestamp()) // OUTAGE_SECONDS
    download_prices(flow_run.run_count, is_down=period % 2 == 1)
