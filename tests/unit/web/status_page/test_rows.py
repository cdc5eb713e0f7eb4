"""The rows of the status page: cells and links."""

from __future__ import annotations

from dataclasses import replace

import pytest

from prefect_monitoring.model.records import Pipeline
from prefect_monitoring.policy.resolve import Policy
from prefect_monitoring.snapshot.model import Links
from prefect_monitoring.web.status_page.page import render_page
from prefect_monitoring.web.status_page.rows import Badge, make_rows
from unit.snapshots import NOW
from unit.status_page_html import STALE, parsed_page
from unit.status_pages import BAD_RUN, DAY, GOOD, failing, snapshot_of

PIPELINE = Pipeline("etl", "daily")
OTHER = Pipeline("etl", "hourly")
LINKS = Links("https://prefect.example.com/base", "https://grafana.example.com", "https://example.com/runbooks")


def test_row_shows_everything_that_is_known() -> None:
    policy = Policy(criticality="critical", team="data", objective=0.999, window=7 * DAY, max_duration=120.0)
    snapshot = snapshot_of({PIPELINE: failing(PIPELINE)}, policies={PIPELINE: policy}, links=LINKS)
    page = parsed_page(snapshot)
    cells = [" ".join(cell.split()) for cell in page.rows[2]]
    assert cells == [
        "etl daily critical data",
        "failing 3 runs in a row, cause: rate limit, since 10:00 (2 h)",
        "30 min ago 11:30, took 12 s",
        "99.5 % of 200 runs in 7 d, objective 99.9 %",
        "0 to 2 min 10 s",
        "load 71 % of the run",
        "failed run deployment dashboard runbook",
    ]
    assert (
        "The last 4 completed runs took 1 min to 2 min 10 s, the newest 1 min 35 s; at most 2 min is declared"
        in page.text
    )
    assert page.links["failed run"] == f"https://prefect.example.com/base/runs/flow-run/{BAD_RUN}"
    assert page.links["deployment"] == "https://prefect.example.com/base/deployments/deployment/id%20of%20daily"
    assert page.links["dashboard"] == "https://grafana.example.com/d/prefect-flow?var-flow=etl&var-deployment=daily"
    assert page.links["runbook"] == "https://example.com/runbooks/PrefectRunFailed.md"


def test_links_without_http_addresses_are_left_out() -> None:
    own = {"Metrics", "Ready?", "Healthy?", "JSON", "on", "off"}
    assert parsed_page(snapshot_of({PIPELINE: failing(PIPELINE)})).links.keys() == own
    odd = Links("javascript:alert(1)", "data:text/html,x", "file:///etc")
    assert parsed_page(snapshot_of({PIPELINE: failing(PIPELINE)}, links=odd)).links.keys() == own


def test_badge_is_critical_by_criticality_not_by_text() -> None:
    """A team may be named critical."""
    policies = {PIPELINE: Policy(team="critical"), OTHER: Policy(criticality="critical")}
    rows = make_rows(snapshot_of({PIPELINE: GOOD, OTHER: GOOD}, policies=policies))
    assert {row.pipeline: row.badges for row in rows} == {
        PIPELINE: (Badge("critical"),),
        OTHER: (Badge("critical", is_critical=True),),
    }
    html = render_page(snapshot_of({PIPELINE: GOOD, OTHER: GOOD}, policies=policies), STALE, NOW)
    assert html.count('class="badge critical"') == 1


def test_success_without_an_slo_window_covers_30_days() -> None:
    pipeline = Pipeline("ad-hoc", "")
    page = parsed_page(snapshot_of({pipeline: GOOD}))
    assert "99 % of 100 runs in 30 d" in page.text
    assert "objective" not in page.text


def test_success_with_a_spent_budget_is_marked() -> None:
    for bad, tone in ((1, ""), (2, ' class="bad"')):
        stats = replace(GOOD, window_runs={("slo", "good"): 10 - bad, ("slo", "bad"): bad})
        html = render_page(snapshot_of({PIPELINE: stats}), STALE, NOW)
        assert f"<span{tone}>{100 - 10 * bad}\u00a0%</span>" in html, "one failure is always allowed"


@pytest.mark.parametrize(("share", "shown"), [(0.049, ""), (0.05, "load 5 % of the run")])
def test_task_that_takes_hardly_any_time_is_not_the_slowest(share: float, shown: str) -> None:
    """A run that spends its time in subflows has no slow task."""
    page = parsed_page(snapshot_of({PIPELINE: replace(GOOD, time_shares={"load": share})}))
    assert " ".join(page.rows[2][5].split()) == shown
