"""Redraws docs/pictures/report.png: the report of an invented team, in Chromium.

PYTHONPATH=tests .venv/bin/python tests/support/report_picture.py [FILE [light|dark|print [WIDTH]]]
"""

import sys
import tempfile
from pathlib import Path

from prefect_monitoring.ledger.opening import open_ledger
from prefect_monitoring.model.actions import ActionResult, Kind
from prefect_monitoring.model.changes import Schedule
from prefect_monitoring.model.counted_metrics import DEFAULT_BOUNDS
from prefect_monitoring.model.records import Pipeline
from prefect_monitoring.report import html
from prefect_monitoring.report.making import make_report
from support.browser import chromium, view
from support.options import settings_with
from unit.ledger_values import NOW, lookbacks_of
from unit.report_ledgers import Past
from unit.rig import API, DAY, NO_SYNC, pragma

PICTURE = Path(__file__).parents[2] / "docs/pictures/report.png"
HEIGHT = 1500
# Flow, deployment, team, runs a day, usual seconds.
TEAM = (
    ("crm-sync", "prod", "data-engineering", 1, 80),
    ("currency-rates", "hourly", "finance", 24, 20),
    ("dbt-daily-pipeline", "production", "analytics", 1, 900),
    ("gpu-training", "weekly", "data-science", 0, 0),
    ("image-embeddings", "gpu", "data-science", 1, 3100),
    ("legacy-ftp-import", "prod", "", 1, 540),
    ("lightdash-refresh", "production", "analytics", 1, 120),
    ("marketing-attribution", "daily", "analytics", 1, 300),
    ("orders-api-ingest", "prod", "data-engineering", 6, 180),
    ("supplier-prices", "prod", "data-engineering", 1, 95),
    ("warehouse-compaction", "nightly", "platform", 1, 2400),
)
# Flow, how often, days ago, state, cause, pattern.
FAILURES = (
    ("orders-api-ingest", 4, 2.2, "FAILED", "timeout", "ReadTimeout: the orders API did not answer within # s"),
    ("supplier-prices", 3, 1.5, "FAILED", "rate_limit", "HTTPError: 429 Too Many Requests for url /prices?page=#"),
    ("supplier-prices", 1, 9.2, "FAILED", "rate_limit", "HTTPError: 429 Too Many Requests for url /prices?page=#"),
    ("legacy-ftp-import", 2, 1.1, "FAILED", "auth", "ftplib.error_perm: 530 Login incorrect."),
    ("dbt-daily-pipeline", 1, 1.2, "FAILED", "data", 'Database Error: column "discount" does not exist'),
    ("image-embeddings", 1, 0.9, "CRASHED", "out_of_memory", "Process exited with status code #."),
)
# Flow, task, runs, seconds, retries, cause: of this week, then of the one before.
TASKS = (
    ("supplier-prices", "fetch_prices", (130, 22, 118), (130, 23, 41), "rate_limit"),
    ("orders-api-ingest", "extract_orders", (42, 41, 17), (42, 20, 9), "timeout"),
    ("dbt-daily-pipeline", "dbt_run", (7, 890, 0), (7, 500, 0), ""),
    ("warehouse-compaction", "compact", (70, 30, 3), (70, 30, 3), "db_lock"),
)


def fill(past: Past) -> None:
    pipelines = {flow: Pipeline(flow, deployment) for flow, deployment, *_ in TEAM}
    for flow, _, team, per_day, seconds in TEAM:
        past.exists(pipelines[flow], tags=[f"team:{team}"] if team else [])
        for day in range(14 if per_day else 0):
            slower = 1.45 if flow == "dbt-daily-pipeline" and day < 7 else 1.0
            past.ran(pipelines[flow], day + 0.3, times=per_day, seconds=seconds * slower)
    for flow, times, days_ago, state, cause, pattern in FAILURES:
        past.ran(pipelines[flow], days_ago, state_type=state, times=times, cause=cause, pattern=pattern)
    for flow, task, now, before, cause in TASKS:
        for days_ago, (runs, seconds, retries) in ((1, now), (8, before)):
            past.task(pipelines[flow], task, days_ago, runs=runs, seconds=seconds, retries=retries, cause=cause)
    for day in range(14):
        past.observed(pipelines["orders-api-ingest"], "rows_extracted", day + 0.1, 41000 if day < 7 else 98000)
    for run in past.ran(pipelines["supplier-prices"], 1.3, times=9):
        past.acted(pipelines["supplier-prices"], Kind.RETRY, ActionResult.DONE, run)
    past.acted(pipelines["supplier-prices"], Kind.RETRY, ActionResult.EXHAUSTED, run)
    past.acted(pipelines["dbt-daily-pipeline"], Kind.PAUSE, ActionResult.DONE, run)
    past.automation_failed("Tell the on-call channel", 2)
    past.scheduled(pipelines["lightdash-refresh"], Schedule(paused_at=NOW - 1.2 * DAY))
    past.scheduled(pipelines["crm-sync"], Schedule(last_at=NOW - 0.2 * DAY, unmet_at=NOW - 0.2 * DAY))


def report() -> str:
    with tempfile.TemporaryDirectory() as directory:
        url = f"sqlite:///{directory}/ledger.db"
        ledger = open_ledger(url, API, bounds=DEFAULT_BOUNDS, lookbacks=lookbacks_of(30 * DAY), now=NOW - 40 * DAY)
        pragma(ledger, NO_SYNC)
        past = Past(ledger, NOW)
        with past.in_one_commit():
            fill(past)
        ledger.close()
        return html.render(make_report(settings_with(ledger_url=url), NOW, 7))


def draw(page: str, file: Path, look: str = "light", width: int = 1280) -> None:
    with tempfile.TemporaryDirectory() as directory, chromium() as browser:
        path = Path(directory) / "report.html"
        path.write_text(page, encoding="utf-8")
        scheme, size = "dark" if look == "dark" else "light", {"width": width, "height": HEIGHT}
        with view(browser, path.as_uri(), size=size, color_scheme=scheme) as seen:
            if look == "print":
                seen.page.emulate_media(media="print")
            seen.picture(file, full_page=file != PICTURE)
            lines = [f"{file}: {file.stat().st_size // 1024} kB", *seen.messages, *seen.overflowing()]
    sys.stdout.write("\n  ".join(lines) + "\n")


if __name__ == "__main__":
    given = sys.argv[1:]
    draw(report(), Path(given[0]) if given else PICTURE, *given[1:2], *map(int, given[2:3]))
