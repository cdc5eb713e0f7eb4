"""Redraws docs/pictures/status-page.png: the status page of an invented team, in Chromium.

PYTHONPATH=tests .venv/bin/python tests/support/status_picture.py [FILE [light|dark [WIDTH]]]
"""

import math
import random
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from prefect_monitoring.model.changes import Schedule
from prefect_monitoring.model.records import Pipeline
from prefect_monitoring.model.run_stats import RECENT_DURATIONS, RunStats
from prefect_monitoring.policy.resolve import Policy
from prefect_monitoring.snapshot.model import Links, Snapshot
from prefect_monitoring.web.status_page.page import render_page
from support.browser import chromium, view
from unit.snapshots import NOW, make_snapshot
from unit.status_pages import DAY, GOOD, HOUR, MINUTE, failing, snapshot_of

PICTURE = Path(__file__).parents[2] / "docs/pictures/status-page.png"
LINKS = Links("https://prefect.example.com", "https://grafana.example.com", "https://example.com/runbooks")
# Name, deployment, usual minutes, slowest task and its share, good and bad runs.
TEAM = (
    ("billing-export", "hourly", 4, "upload_to_s3", 0.44, 716, 4),
    ("crm-sync", "hourly", 11, "fetch_contacts", 0.81, 709, 3),
    ("customer-enrichment", "daily", 64, "call_api", 0.72, 30, 0),
    ("dbt-daily-pipeline", "production", 38, "dbt_build", 0.66, 29, 1),
    ("gpu-training", "nightly", 190, "train", 0.97, 28, 1),
    ("image-embeddings", "daily", 52, "embed", 0.88, 30, 0),
    ("legacy-ftp-import", "daily", 9, "download", 0.59, 27, 3),
    ("lightdash-refresh", "weekdays", 2, "refresh", 0.98, 30, 0),
    ("orders-api-ingest", "every-15m", 3, "extract", 0.61, 2860, 18),
    ("warehouse-compaction", "weekly", 95, "vacuum", 0.84, 4, 0),
)
# How long ago a run of each deployment ended.
AGO = {
    "hourly": 73 * MINUTE,
    "every-15m": 6 * MINUTE,
    "daily": 5.2 * HOUR,
    "production": 5 * HOUR,
    "nightly": 19 * HOUR,
    "weekly": 3.4 * DAY,
    "weekdays": 3.2 * DAY,
}


def _run_stats(number: int, minutes: float, task: str, share: float, good: int, bad: int) -> RunStats:
    chance = random.Random(number)  # the picture must be reproducible
    usual = minutes * MINUTE
    drift = 0.5 if number == 0 else 0.05
    durations = tuple(
        usual * (1 - drift * place / RECENT_DURATIONS + chance.uniform(-0.12, 0.12) + 0.1 * math.sin(place))
        for place in range(min(RECENT_DURATIONS, good))
    )
    ended = NOW - AGO[TEAM[number][1]]
    return replace(
        GOOD,
        last_outcomes={"completed": ended},
        recent_durations=durations,
        baselines={"30d": usual},
        window_runs={("slo", "good"): good, ("slo", "bad"): bad},
        time_shares={task: share},
    )


def team() -> Snapshot:
    pipelines = {Pipeline(flow, deployment): index for index, (flow, deployment, *_) in enumerate(TEAM)}
    by_name = {pipeline.flow: pipeline for pipeline in pipelines}
    run_stats = {
        pipeline: _run_stats(index, *TEAM[index][2:])  # type: ignore[arg-type] # the rest of a row
        for pipeline, index in pipelines.items()
    }
    for name, runs, since in (("dbt-daily-pipeline", 2, 5 * HOUR), ("legacy-ftp-import", 3, 2.2 * DAY)):
        pipeline = by_name[name]
        bad = failing(pipeline, runs, "CRASHED" if runs == 3 else "FAILED", since=NOW - since)
        mine = run_stats[pipeline]
        run_stats[pipeline] = replace(
            bad,
            recent_durations=mine.recent_durations,
            window_runs=mine.window_runs,
            time_shares=mine.time_shares,
            baselines=mine.baselines,
        )
    snapshot = snapshot_of(
        run_stats,
        paused=(by_name["lightdash-refresh"],),
        active={
            (by_name["crm-sync"], "late"): NOW - 17 * MINUTE,
            (by_name["gpu-training"], "running"): NOW - 80 * MINUTE,
            (by_name["dbt-daily-pipeline"], "running"): NOW - 6 * MINUTE,
        },
        schedules={by_name["lightdash-refresh"]: Schedule(paused_at=NOW - 3 * DAY)},
        policies={
            by_name["dbt-daily-pipeline"]: Policy("critical", "analytics", max_duration=45 * MINUTE),
            by_name["orders-api-ingest"]: Policy("critical", "commerce"),
            by_name["billing-export"]: Policy(team="finance", max_duration=5 * MINUTE),
            by_name["legacy-ftp-import"]: Policy("low"),
        },
        links=LINKS,
    )
    return replace(
        snapshot,
        about=replace(
            snapshot.about, version="1.0.0", sources=make_snapshot().about.sources[:1] + snapshot.about.sources
        ),
    )


def draw(snapshot: Snapshot, file: Path, scheme: str = "light", width: int = 1280) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory, chromium() as browser:
        page = Path(directory) / "page.html"
        page.write_text(render_page(snapshot, 75.0, NOW), encoding="utf-8")
        size = {"width": width, "height": 900}
        with view(browser, page.as_uri(), size=size, color_scheme=scheme) as seen:
            seen.picture(file)
            lines = [f"{file}: {file.stat().st_size // 1024} kB", *seen.messages, *seen.overflowing()]
    sys.stdout.write("\n  ".join(lines) + "\n")


if __name__ == "__main__":
    given = sys.argv[1:]
    draw(team(), Path(given[0]) if given else PICTURE, *given[1:2], *map(int, given[2:3]))
