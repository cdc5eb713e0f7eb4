"""The API does not answer for three minutes: one page about it, and a missing success is paged three minutes later."""

from __future__ import annotations

import sys
import time

import pytest

from e2e.two_replicas import Site, site_with

PIPELINES = """
pipelines:
  - {flow: daily, criticality: critical, slo: {max_staleness: 5m}}
  - {flow: other, criticality: critical}
"""
STALE_SECONDS = 300.0
BLIP_SECONDS = 180.0
FOR_SECONDS = 120.0  # of PrefectNotSucceeded
NOTICED_SECONDS = 60.0  # at most, for polls, scrapes and evaluations at both ends of the blip
PATIENCE = 240.0


site = site_with(PIPELINES)


@pytest.mark.timeout(2400)
def test_blip_pages_once_and_delays_a_missing_success_by_its_length(site: Site) -> None:
    for flow in ("daily", "other"):
        site.deploy(flow, "nightly")
    site.prometheus.wait_for("count(prefect_pipeline_info) == 4", lambda found: bool(found), PATIENCE)
    site.seeder.completed(site.start("daily/nightly"))
    completed_at = time.time()
    site.prometheus.wait_for(
        'count(prefect_flow_run_last_outcome_timestamp_seconds{flow="daily",state="completed"}) == 2',
        lambda found: bool(found),
        PATIENCE,
    )
    assert not site.inbox.messages()

    begun = time.time()
    for api in site.apis:
        api.refuse()
    failed = site.start("other/nightly")
    site.seeder.failed(failed, "ValueError: seen by nobody until the API answers")
    time.sleep(BLIP_SECONDS)
    for kind in ("slack", "pagerduty"):
        assert len(site.inbox.messages(kind)) == len(site.inbox.messages(kind, "the API does not answer")) == 1
    for api in site.apis:
        api.accept()
    ended = time.time()
    for kind in ("slack", "pagerduty"):
        site.wait_for(kind, "the API does not answer", status="resolved", timeout=PATIENCE)
        site.wait_for(kind, f"/runs/flow-run/{failed}", timeout=PATIENCE)
    sys.stdout.write(f"a run that failed in the blip was notified {time.time() - ended:.0f} s after its end\n")

    site.wait_for("pagerduty", "daily/nightly", "not completed in time", timeout=PATIENCE + STALE_SECONDS)
    (page,) = site.inbox.messages("pagerduty", "daily/nightly")
    delay = page["received_at"] - completed_at - STALE_SECONDS - FOR_SECONDS
    sys.stdout.write(f"a blip of {ended - begun:.0f} s, paged {delay:.0f} s later than without it\n")
    assert BLIP_SECONDS - NOTICED_SECONDS < delay < BLIP_SECONDS + PATIENCE
    assert len(site.inbox.messages("pagerduty", "the API does not answer", status="firing")) == 1
