"""Copies contacts out of a CRM whose first answer is usually a timeout.

What it shows: flow retries. The first attempt mostly fails and the whole flow runs again: one run, two attempts, one
outcome.
"""

from random import random
from time import sleep

from prefect import flow, task
from prefect.runtime import flow_run

FIRST_ANSWER_TIMES_OUT = 0.8


@task
def read_contacts(attempt: int) -> None:
    sleep(1)
    if attempt == 1 and random() < FIRST_ANSWER_TIMES_OUT:
        raise ConnectionError("504 Gateway Timeout: the CRM did not answer")


@flow(name="crm-sync", retries=2, retry_delay_seconds=5)
def crm_sync() -> None:
    read_contacts(flow_run.run_count)
