"""Adds country names to customers; the list of countries hardly ever changes.

What it shows: a cached task. Its first call computes for three seconds; the second one, and every run in the ten
minutes that follow, find the result and end as Cached.
"""

from datetime import timedelta
from time import sleep

from prefect import flow, task
from prefect.cache_policies import INPUTS


@task(cache_policy=INPUTS, cache_expiration=timedelta(minutes=10), persist_result=True)
def load_countries(region: str) -> list[str]:
    sleep(3)
    return {"emea": ["CH", "FR", "ZA"], "apac": ["JP", "NZ"]}[region]


@task
def enrich(countries: list[str]) -> int:
    sleep(0.5)
    return len(countries)


@flow(name="customer-enrichment")
def customer_enrichment() -> None:
    for region in ("emea", "apac", "emea"):
        enrich(load_countries(region))
