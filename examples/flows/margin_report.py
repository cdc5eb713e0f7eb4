"""Computes margins from what supplier-prices downloads.

What it shows: a downstream deployment that the exporter pauses while its source has failed, and resumes after.
"""

from time import sleep

from prefect import flow, task


@task
def compute_margins() -> None:
    sleep(1)


@flow(name="margin-report")
def margin_report() -> None:
    compute_margins()
