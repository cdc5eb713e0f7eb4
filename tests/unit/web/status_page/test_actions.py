"""Actions on the status page."""

from __future__ import annotations

from dataclasses import replace

from prefect_monitoring.model.actions import STOPPED_BY_HAND
from prefect_monitoring.model.records import Pipeline
from prefect_monitoring.snapshot.model import ActionsReport
from prefect_monitoring.web.status_page.actions import ActionRow, action_rows
from prefect_monitoring.web.status_page.tone import Tone
from unit.snapshots import NOW, make_snapshot
from unit.status_page_html import parsed_page
from unit.status_pages import GOOD, snapshot_of

SNAPSHOT = snapshot_of({Pipeline("etl", "daily"): GOOD})


def test_watching_exporter_shows_no_actions() -> None:
    assert list(action_rows(SNAPSHOT)) == []
    assert "Actions" not in parsed_page(SNAPSHOT).text


def test_acting_exporter_lists_the_newest_actions() -> None:
    snapshot = replace(SNAPSHOT, actions=make_snapshot().actions)

    assert list(action_rows(snapshot)) == [
        ActionRow(
            "45\N{NO-BREAK SPACE}s ago",
            "pause report/daily, because etl/daily failed (able-lynx, auth)",
            "done",
            Tone.OK,
        ),
        ActionRow(
            "50\N{NO-BREAK SPACE}s ago",
            "retry 3 of 3 of etl/daily (able-lynx)",
            "exhausted (3 of 3 retries are used)",
            Tone.BAD,
        ),
    ]
    assert "retry 3 of 3 of etl/daily (able-lynx)" in parsed_page(snapshot).text


def test_stopped_actions_are_a_banner() -> None:
    report = make_snapshot().actions
    assert report is not None
    assert report.acting is not None
    by_hand = replace(report, acting=report.acting.resumed(NOW).stopped(NOW, STOPPED_BY_HAND))

    assert "The fuse is blown (100 actions within an hour)." in parsed_page(replace(SNAPSHOT, actions=report)).text
    assert "Somebody stopped actions." in parsed_page(replace(SNAPSHOT, actions=by_hand)).text
    dry_run = parsed_page(replace(SNAPSHOT, actions=ActionsReport(None))).text
    assert "None yet." in dry_run
    assert "stopped" not in dry_run
