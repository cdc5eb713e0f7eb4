"""The status page as JSON: its content, and that it matches the page."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from prefect_monitoring.model.records import Pipeline
from prefect_monitoring.policy.resolve import Policy
from prefect_monitoring.snapshot.model import Links, Snapshot
from prefect_monitoring.web.status_page.document import render_document
from prefect_monitoring.web.status_page.rows import make_rows
from prefect_monitoring.web.status_page.status import Group
from prefect_monitoring.web.status_page.watched import watched
from unit.snapshots import NOW
from unit.status_page_html import STALE, parsed_page
from unit.status_pages import BAD_RUN, GOOD, HOUR, failing, snapshot_of

PIPELINE, OTHER = Pipeline("etl", "daily"), Pipeline("etl", "hourly")
LINKS = Links("https://prefect.example.com", api_url="https://prefect.example.com/api")


def document(snapshot: Snapshot | None, now: float = NOW) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(render_document(snapshot, STALE, now))
    return parsed


def test_document_matches_the_page_for_each_pipeline() -> None:
    policy = Policy(criticality="critical", team="data", objective=0.999)
    snapshot = snapshot_of(
        {PIPELINE: failing(PIPELINE), OTHER: GOOD},
        policies={PIPELINE: policy},
        active={(OTHER, "running"): NOW - 60},
        links=LINKS,
    )
    content = document(snapshot)
    assert (content["version"], content["status"], content["current"]) == (1, "bad", True)
    assert content["as_of"] == "2026-03-02T12:00:00Z"
    assert content["prefect"] == {
        "api_url": "https://prefect.example.com/api",
        "version": "3.8.8",
        "up": True,
        "error": "",
    }
    assert content["counts"] == {"attention": 1, "unwatched": 0, "fine": 1, "idle": 0}
    failed, fine = content["pipelines"]
    assert (failed["flow"], failed["deployment"], failed["group"]) == ("etl", "daily", "attention")
    assert (failed["status"], failed["since"]) == ("failing", "2026-03-02T10:00:00Z")
    assert failed["conditions"][0] == {
        "id": "run_failed",
        "alert": "PrefectRunFailed",
        "fires": True,
        "text": "failing",
        "detail": "3 runs in a row, cause: rate limit",
        "since": "2026-03-02T10:00:00Z",
    }
    assert failed["links"]["failed_run"].endswith(BAD_RUN)
    assert (failed["criticality"], failed["team"], failed["objective"]) == ("critical", "data", 0.999)
    assert (fine["status"], fine["active"], fine["slo_runs"]) == ("running", {"running": 1}, {"good": 199, "bad": 1})
    assert fine["recent_durations_seconds"] == [95.0, 90.0, 130.0, 60.0]
    shown = {(row.pipeline, row.status.lines[0].text) for row in make_rows(snapshot)}
    assert shown == {(Pipeline(entry["flow"], entry["deployment"]), entry["status"]) for entry in content["pipelines"]}


def test_document_shows_that_the_data_is_not_current() -> None:
    snapshot = snapshot_of({PIPELINE: GOOD})
    assert (document(snapshot)["status"], document(snapshot)["banners"]) == ("ok", [])
    (finished,) = snapshot.about.sources
    failed = replace(finished, up=False, complete_to=NOW - HOUR, code="401", error="401")
    down = replace(snapshot, active=None, about=replace(snapshot.about, api_up=False, sources=(failed,)))
    content = document(down)
    assert (content["status"], content["current"], content["as_of"]) == ("bad", False, "2026-03-02T11:00:00Z")
    assert content["prefect"]["error"] == "The Prefect API refuses the exporter's credentials (401)"
    assert content["pipelines"][0]["active"] is None, "unknown is not the same as none"
    assert content["sources"][0]["up"] is False
    assert document(snapshot, NOW + STALE + 1)["current"] is False, "polling has stopped"
    assert document(None) == {"version": 1, "status": "starting"}


@pytest.mark.parametrize(
    ("address", "said"),
    [
        (
            "https://api.prefect.cloud/api/accounts/a-1/workspaces/w-2",
            "https://api.prefect.cloud, workspace w-2 of account a-1",
        ),
        ("http://prefect:4200/api", "http://prefect:4200/api"),
    ],
)
def test_page_names_the_watched_prefect(address: str, said: str) -> None:
    assert watched(address) == said
    page = parsed_page(snapshot_of({PIPELINE: GOOD}, links=Links(api_url=address)))
    assert f"Watches {said}" in " ".join(page.text.split())
    assert "Watches" not in parsed_page(snapshot_of({PIPELINE: GOOD})).text


def test_late_run_names_the_pool_without_workers() -> None:
    snapshot = snapshot_of({PIPELINE: GOOD}, active={(PIPELINE, "late"): NOW - HOUR})
    assert "no worker" not in parsed_page(snapshot).text
    (pool, workers), *_ = snapshot.inventory.workers.items()
    empty = replace(snapshot.inventory, workers={pool: replace(workers, online=0)})
    assert "1 run, no worker in pool k8s" in parsed_page(replace(snapshot, inventory=empty)).text


def test_pipeline_that_never_succeeded_is_not_fine() -> None:
    never = replace(GOOD, last_outcomes={"cancelled": NOW - HOUR})
    row, *_ = make_rows(snapshot_of({PIPELINE: never}))
    assert (row.status.group, [line.text for line in row.lines]) == (Group.IDLE, ["cancelled", "never succeeded"])
    row, *_ = make_rows(snapshot_of({PIPELINE: never}, active={(PIPELINE, "running"): NOW - 60}))
    assert (row.status.group, [line.text for line in row.lines]) == (Group.IDLE, ["running", "never succeeded"])
