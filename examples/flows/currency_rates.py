"""Loads today's exchange rates.

What it shows: a quiet, healthy flow with a number worth a graph.
"""

from random import uniform
from time import sleep

from prefect import flow, get_run_logger, task


@task
def load_rates() -> None:
    sleep(1)
    get_run_logger().info(
        'METRIC: rate{pair="EURCHF"}=%.4f rate{pair="EURUSD"}=%.4f', uniform(0.93, 0.97), uniform(1.05, 1.12)
    )


@flow(name="currency-rates")
def currency_rates() -> None:
    load_rates()
