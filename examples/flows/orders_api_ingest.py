"""Reads pages from an API that throttles.

What it shows: task retries. Every second call is refused, most of them succeed when tried again, and about one run in
six fails because a page used up its retries.
"""

from random import random
from time import sleep

from prefect import flow, get_run_logger, task

REFUSED = 0.5


@task(retries=3, retry_delay_seconds=2)
def fetch_page(number: int) -> None:
    sleep(0.5)
    if random() < REFUSED:
        raise ConnectionError(f"429 Too Many Requests: page {number}")


@flow(name="orders-api-ingest")
def orders_api_ingest(pages: int = 3) -> None:
    for number in range(1, pages + 1):
        fetch_page(number)
    get_run_logger().info("METRIC: pages_fetched=%d", pages)
