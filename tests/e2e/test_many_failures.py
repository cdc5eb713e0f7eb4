"""Parallel runs, a silence and a storm end to end, with two replicas of which one loses the API: Prefect to inbox."""

from __future__ import annotations

import sys
import time

import pytest

from e2e.two_replicas import WITHIN, Site, site_with

STORM = [f"load-{number:02}" for number in range(60)]
CRITICAL = STORM[30]
STILL_FAILING = STORM[7]
PIPELINES = f"""
pipelines:
  - {{flow: per-customer, criticality: critical}}
  - {{flow: silenced, criticality: critical}}
  - {{flow: warehouse, deployment: {CRITICAL}, criticality: critical}}
"""
REFUSED = "Flow run encountered an exception: ConnectionError: connection refused by the warehouse"
BUG = "Flow run encountered an exception: KeyError: 'customer_id'"  # no part of the storm
STORM_SECONDS = 45.0  # in which all of them fail
SETTLED_SECONDS = 90.0  # more than a group_interval
# A failure stays unresolved for at least five minutes, and for less than eight in this test.
OLD_ENOUGH_SECONDS = 310.0
# A storm is shown for five minutes more: meanwhile the last ones may recover without a message each.
OVER_SECONDS = 300.0

site = site_with(PIPELINES)


@pytest.mark.timeout(3600)
def test_many_failures_send_few_messages_and_hide_none(site: Site) -> None:
    everything_is_up(site)
    for step in (
        each_failed_parallel_run_sends_a_message_and_pages_once,
        sixty_failures_of_one_cause_page_once,
        recovery_resolves_the_storm_although_a_replica_is_cut_off,
    ):
        begun = time.monotonic()
        step(site)
        sys.stdout.write(f"{step.__name__}: {time.monotonic() - begun:.0f} s\n")
    assert not site.inbox.messages("slack", "silenced")
    assert not site.inbox.messages("pagerduty", "silenced")


def everything_is_up(site: Site) -> None:
    site.deploy("per-customer", "all")
    site.deploy("silenced", "planned")
    for name in STORM:
        site.deploy("warehouse", name)
    both = f"count(prefect_pipeline_info) == {2 * (len(STORM) + 2)}"
    site.prometheus.wait_for(both, lambda found: bool(found), 240)
    assert not site.inbox.messages()


def each_failed_parallel_run_sends_a_message_and_pages_once(site: Site) -> None:
    north, south, west = (site.start("per-customer/all") for _ in range(3))
    site.seeder.failed(north, REFUSED)
    site.seeder.completed(south)
    for kind in ("slack", "pagerduty"):
        site.wait_for(kind, "per-customer/all", f"/runs/flow-run/{north}")
    site.seeder.failed(west, REFUSED)
    site.wait_for("slack", "per-customer/all", f"/runs/flow-run/{west}")
    assert len(site.inbox.messages("slack", "per-customer/all")) == 2
    assert len(site.incidents("per-customer/all")) == 1


def sixty_failures_of_one_cause_page_once(site: Site) -> None:
    site.silence(flow="silenced", deployment="planned")
    before = {kind: len(site.inbox.messages(kind)) for kind in ("slack", "pagerduty")}
    site.fail("silenced/planned", BUG)
    begun = time.monotonic()
    for number, name in enumerate(STORM):
        time.sleep(max(0.0, begun + number * STORM_SECONDS / len(STORM) - time.monotonic()))
        site.fail(f"warehouse/{name}", REFUSED)
    sys.stdout.write(f"{len(STORM)} pipelines failed within {time.monotonic() - begun:.0f} s\n")
    for kind in ("slack", "pagerduty"):
        site.wait_for(kind, "many pipelines fail")
    time.sleep(SETTLED_SECONDS)
    sent = {kind: len(site.inbox.messages(kind)) - count for kind, count in before.items()}
    sys.stdout.write(f"{sent['slack']} posts, {sent['pagerduty']} pages\n")
    assert sent["slack"] <= 3
    assert sent["pagerduty"] == 1


def recovery_resolves_the_storm_although_a_replica_is_cut_off(site: Site) -> None:
    """Whose gauges still say that all of them fail."""
    site.apis[1].refuse()
    time.sleep(OLD_ENOUGH_SECONDS - SETTLED_SECONDS)
    for name in STORM:
        if name != STILL_FAILING:
            site.seeder.completed(site.start(f"warehouse/{name}"))
    site.seeder.completed(site.start("per-customer/all"))
    for kind in ("slack", "pagerduty"):
        site.wait_for(kind, "many pipelines fail", status="resolved", timeout=OVER_SECONDS + WITHIN)
        site.wait_for(kind, "per-customer/all", status="resolved")
    site.wait_for("slack", f"warehouse/{STILL_FAILING}: run failed")
    others = {name for name in STORM if site.inbox.messages("slack", f"warehouse/{name}: ")}
    assert STILL_FAILING in others
    assert len(others) <= 3, "those that failed before the storm was one"
    assert not site.inbox.messages("pagerduty", f"warehouse/{STILL_FAILING}: run failed"), (
        "a standard pipeline does not page"
    )
