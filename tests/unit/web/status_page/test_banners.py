"""The banners above the table: what is out of date, incomplete or wrong."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

import pytest

from prefect_monitoring.model.records import Pipeline
from prefect_monitoring.model.source_status import FileStatus, ReconciliationReport
from prefect_monitoring.snapshot.model import Health, Snapshot
from prefect_monitoring.web.status_page.page import render_page
from unit.snapshots import NOW
from unit.status_page_html import STALE, parsed_page
from unit.status_pages import GOOD, HOUR, snapshot_of

PIPELINE = Pipeline("etl", "daily")


def down(snapshot: Snapshot, seconds: float) -> Snapshot:
    (finished,) = snapshot.about.sources
    failed = replace(finished, up=False, complete_to=NOW - seconds, last_success=NOW - seconds, error="no answer")
    return replace(snapshot, about=replace(snapshot.about, api_up=False, sources=(failed,)))


@pytest.mark.parametrize("seconds", [3, 3600])
def test_outage_banner_names_the_time_of_the_data(seconds: float) -> None:
    page = parsed_page(replace(down(snapshot_of({PIPELINE: GOOD}), seconds), active=None))
    at = {3: "11:59:57", 3600: "11:00:00"}[int(seconds)]
    assert f"The Prefect API does not answer. This page shows 2026-03-02 {at} UTC, not the present." in page.text
    assert "The Prefect API does not answer · prefect-monitoring" in page.text, "a tab in the background says so too"
    assert "Active runs are not known" in page.text
    assert f"As of 2026-03-02 {at} UTC" in page.text
    assert f"At {at[:5]}: 1 fine" in page.text, "the summary shows its time, too"
    assert page.names[0] == f"Fine at {at[:5]} (1)"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("401", "The Prefect API refuses the exporter's credentials (401)"),
        ("403", "The Prefect API refuses the exporter's credentials (403)"),
        ("500", "The Prefect API answers with an error (500)"),
        ("timeout", "The Prefect API does not answer"),
    ],
)
def test_outage_banner_describes_the_error(code: str, said: str) -> None:
    snapshot = down(snapshot_of({PIPELINE: GOOD}), 60)
    (finished,) = snapshot.about.sources
    page = parsed_page(replace(snapshot, about=replace(snapshot.about, sources=(replace(finished, code=code),))))
    assert f"{said}. This page shows" in page.text
    assert f"{said} · prefect-monitoring" in page.text
    assert ("does not answer" in page.text) == (code == "timeout")


def test_outage_at_the_start_shows_ledger_data() -> None:
    snapshot = down(snapshot_of({PIPELINE: GOOD}), 0)
    never = replace(snapshot.about.sources[0], complete_to=None, last_success=None)
    restarted = replace(snapshot, about=replace(snapshot.about, sources=(never,)))
    assert "This page shows 2026-03-02 11:00:00 UTC, not the present." in parsed_page(restarted).text
    assert "does not answer. Nothing is known yet." in parsed_page(replace(restarted, run_stats={})).text


def test_stale_finished_runs_are_reported() -> None:
    behind = down(snapshot_of({PIPELINE: GOOD}), 2 * HOUR)
    behind = replace(behind, about=replace(behind.about, api_up=True))
    assert (
        "Finished runs of the last 2 h are not read yet. This page shows 2026-03-02 10:00:00"
        in parsed_page(behind).text
    )


def test_stopped_polling_is_reported_by_the_readers_clock() -> None:
    snapshot = snapshot_of({PIPELINE: GOOD})
    assert "Polling has stopped" not in parsed_page(snapshot, NOW + STALE).text
    stopped = parsed_page(snapshot, NOW + STALE + 1).text
    assert (
        "Polling has stopped: restart the exporter. This page shows 2026-03-02 12:00:00 UTC, not the present."
        in stopped
    )


def faulty(**changes: object) -> Snapshot:
    snapshot = snapshot_of({PIPELINE: GOOD})
    about = {name: value for name, value in changes.items() if hasattr(snapshot.about, name)}
    top_level = {name: value for name, value in changes.items() if name not in about}
    return replace(snapshot, about=replace(snapshot.about, **about), **top_level)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "tone", "text"),
    [
        ({"health": Health(("the disk is full",))}, "bad", "Not ready: the disk is full"),
        ({"health": Health(("loading",), baseline_complete=False)}, "warn", "History is still being loaded"),
        ({"deployments": None}, "warn", "Deployments could not be listed lately"),
        ({"pipelines_file": FileStatus(valid=False, last_success=None)}, "bad", "The pipelines file is invalid"),
        (
            {"reconciliations": {"flow_runs": ReconciliationReport(2, NOW)}},
            "bad",
            "2 finished runs that Prefect has could not be counted",
        ),
        ({"folded": {"x": 1.0}}, "warn", "Label caps were reached"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_fault_of_the_exporter_has_a_banner(changes: Mapping[str, object], tone: str, text: str) -> None:
    html = render_page(faulty(**changes), STALE, NOW)
    assert re.search(rf'<li class="{tone}">{re.escape(text)}', html)
