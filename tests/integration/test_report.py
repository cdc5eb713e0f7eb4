"""The figures of the report equal SQL queries on the database of a real server."""

import sqlite3
import time
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from prefect_monitoring.config.loading import load_settings
from prefect_monitoring.model.period import Period
from prefect_monitoring.model.records import Pipeline
from prefect_monitoring.report.comparing import figures_of
from prefect_monitoring.report.facts import read_facts
from prefect_monitoring.report.figures import Figures
from support.bulk import bulk_finished_runs, bulk_task_runs
from support.exporter import start_exporter
from support.exposition import value
from support.prefect_server import PrefectServer, env_for
from support.processes import wait_until
from support.rig import rig
from support.seeder import Seeder
from support.slack import SECRET, slack_stand_in

DAY = 86400.0
LAST_SUCCESS = "prefect_exporter_sink_last_success_timestamp_seconds"
RUNS = """
SELECT flow.name, coalesce(deployment.name, ''), flow_run.state_type, count(*), avg(CASE
  WHEN flow_run.state_type = 'COMPLETED' AND flow_run.state_timestamp = flow_run.end_time -- else it was set by hand
  THEN strftime('%s', flow_run.end_time) - strftime('%s', flow_run.start_time) END)
FROM flow_run JOIN flow ON flow.id = flow_run.flow_id LEFT JOIN deployment ON deployment.id = flow_run.deployment_id
WHERE flow.name LIKE ? AND flow_run.end_time >= ? AND flow_run.end_time < ? GROUP BY 1, 2, 3
"""
MESSAGES = """
SELECT flow_run_state.message, count(*) FROM flow_run JOIN flow ON flow.id = flow_run.flow_id
JOIN flow_run_state ON flow_run_state.id = flow_run.state_id
WHERE flow.name LIKE ? AND flow_run.state_type IN ('FAILED', 'CRASHED') AND flow_run.end_time >= ? GROUP BY 1
"""
TASKS = """
SELECT rtrim(rtrim(task_run.task_key, '0123456789abcdef'), '-'), sum(task_run.run_count - 1), count(*)
FROM task_run JOIN flow_run ON flow_run.id = task_run.flow_run_id JOIN flow ON flow.id = flow_run.flow_id
WHERE flow.name LIKE ? AND task_run.end_time >= ? GROUP BY 1
"""


class Database:
    """SQL queries on the server's database."""

    def __init__(self, server: PrefectServer, prefix: str) -> None:
        self._file, self._prefix = server.database, f"{prefix}%"

    def rows(self, statement: str, *instants: float) -> list[tuple[Any, ...]]:
        texts = [datetime.fromtimestamp(instant, UTC).strftime("%Y-%m-%d %H:%M:%S.%f") for instant in instants]
        with closing(sqlite3.connect(self._file, timeout=30)) as connection:
            return connection.execute(statement, (self._prefix, *texts)).fetchall()

    def runs(self, start: float, end: float) -> dict[Pipeline, Counter[str]]:
        counts: dict[Pipeline, Counter[str]] = {}
        for flow, deployment, state_type, count, _ in self.rows(RUNS, start, end):
            counts.setdefault(Pipeline(flow, deployment), Counter())[state_type] += count
        return counts

    def means(self, period: Period) -> dict[Pipeline, int]:
        rows = self.rows(RUNS, period.start, period.end)
        return {Pipeline(flow, name): round(mean) for flow, name, state, _, mean in rows if state == "COMPLETED"}


def seed(server: PrefectServer, seeder: Seeder, prefix: str) -> None:
    """Two weeks of a deployed flow and of a script; a failure set to Completed by hand; task retries."""
    now = datetime.now(UTC)
    etl, script = seeder.flow(f"{prefix}etl"), seeder.flow(f"{prefix}script")
    deployment = seeder.deployment(etl, "prod")

    def ended(*days: float, count: int = 1) -> list[datetime]:
        return [now - timedelta(days=day, seconds=30 + 7 * number) for day in days for number in range(count)]

    good = bulk_finished_runs(server, etl, ended(1, 2, 5, 8, 10, count=5), deployment_id=deployment)
    for number, end in enumerate(ended(0.5, 3, 9, count=2)):
        message = f"Flow run encountered an exception: ValueError: row {number} is bad"
        bulk_finished_runs(server, etl, [end], deployment_id=deployment, state="Failed", message=message)
    bulk_finished_runs(server, script, ended(1, 4, count=3), duration=timedelta(seconds=40))
    bulk_finished_runs(server, script, ended(6), state="Crashed", message="Process exited with status code -9.")
    bulk_finished_runs(server, script, ended(2), state="Cancelled")
    [mended] = bulk_finished_runs(server, script, ended(1.5), state="Failed", message="no")
    seeder.mark(mended, "COMPLETED")
    in_runs = list(zip(good[:10], ended(1, 2, count=5), strict=True))
    bulk_task_runs(server, "load", in_runs, attempts=3, duration=timedelta(seconds=6))
    bulk_task_runs(server, "extract", in_runs, duration=timedelta(seconds=2))


def assert_runs_equal(figures: Figures, database: Database) -> None:
    for period, side in ((figures.hours, "now"), (figures.hours.before, "before")):
        counted = database.runs(period.start, period.end)
        found = {row.pipeline: getattr(row, side) for row in figures.pipelines}
        for pipeline, states in counted.items():
            assert found[pipeline].good == states["COMPLETED"]
            assert found[pipeline].bad == states["FAILED"] + states["CRASHED"]
        assert sum(row.runs for row in found.values()) == sum(
            count for states in counted.values() for state, count in states.items() if state != "CANCELLED"
        )


async def test_figures_equal_sql_on_the_database_of_the_server(
    server: PrefectServer, seeder: Seeder, unique: str, tmp_path: Path
) -> None:
    seed(server, seeder, unique)
    database = Database(server, unique)
    async with rig(server.url, tmp_path, include_flows=f"{unique}.*") as exporter:
        await exporter.inventory()
        await exporter.details(3)
        await exporter.inventory()
        settings = load_settings({"ledger_url": f"sqlite:///{exporter.ledger}"}, {})
        figures = figures_of(read_facts(settings, exporter.snapshot.taken_at, 7))
        shown = exporter.snapshot.run_stats
    etl, script = Pipeline(f"{unique}etl", "prod"), Pipeline(f"{unique}script", "")
    assert {row.pipeline for row in figures.pipelines} == {etl, script}
    assert_runs_equal(figures, database)
    for row in figures.pipelines:
        windows = shown[row.pipeline].window_runs
        assert (row.now.good, row.now.bad) == (windows["7d", "good"], windows["7d", "bad"]) != (0, 0)
    messages = database.rows(MESSAGES, figures.hours.start)
    assert sum(group.runs for group in figures.failures) == sum(count for _, count in messages) == figures.total.bad
    assert {group.pattern: group.runs for group in figures.failures} == {
        "ValueError: row # is bad": 4,
        "Process exited with status code #.": 1,
    }
    retries = {task: (retried, runs) for task, retried, runs in database.rows(TASKS, figures.days.start)}
    assert retries == {"load": (20, 10), "extract": (0, 10)}
    assert {row.task: (row.retries, row.runs) for row in figures.retrying} == {"load": retries["load"]}
    means = database.means(figures.hours)
    assert (
        {row.pipeline: round(row.now.mean_seconds or 0) for row in figures.pipelines} == means == {etl: 1, script: 40}
    )


def test_report_due_while_the_exporter_was_off_is_sent_once(server: PrefectServer, unique: str, tmp_path: Path) -> None:
    ledger, half_a_day_ago = tmp_path / "ledger.db", (datetime.now(UTC).hour + 12) % 24
    with slack_stand_in(tmp_path) as slack:
        options = (
            *("--include-flows", f"{unique}.*", "--report-schedule", f"0 {half_a_day_ago} * * *"),
            *("--report-slack-webhook-url-file", str(slack.webhook)),
        )
        with start_exporter(env_for(server), tmp_path, *options):
            wait_until(lambda: sent_for(ledger), 60, "the schedule in the ledger")
        assert slack.messages == [], "the first start sends nothing for the past"
        sent_for(ledger, time.time() - 2 * DAY)
        for _ in range(2):
            with start_exporter(env_for(server), tmp_path, *options) as exporter:
                wait_until(lambda: value(exporter.samples, LAST_SUCCESS, sink="report"), 60, "a report")
                exporter.wait_polled(time.time())
            assert SECRET not in exporter.process.output()
        [message] = slack.messages
    assert "No run ended in this time." in message["text"]
    assert message["blocks"][0]["type"] == "header"


def sent_for(ledger: Path, change: float | None = None) -> float | None:
    """The due time of the last report in the ledger, in epoch seconds; `change` sets it."""
    with closing(sqlite3.connect(ledger, timeout=30)) as connection, connection:
        if change is not None:
            connection.execute("UPDATE prefect_monitoring_sinks SET value = ? WHERE key = 'sent_for'", (change,))
        rows = connection.execute("SELECT value FROM prefect_monitoring_sinks WHERE key = 'sent_for'").fetchall()
    return float(rows[0][0]) if rows else None
