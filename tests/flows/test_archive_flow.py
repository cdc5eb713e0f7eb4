"""The archive as a flow on a real process worker: two days at a time, and only a failed day is retried."""

import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb

from support.bulk import bulk_finished_runs
from support.prefect_server import PrefectServer, env_for
from support.processes import wait_until
from support.seeder import Seeder
from support.workers import start_worker

FLOW = "prefect-monitoring-archive"
RUNS_A_DAY = 30


def overlap(runs: list[dict[str, Any]]) -> bool:
    """Whether any two of the task runs ran at the same time."""
    spans = sorted((run["start_time"], run["end_time"]) for run in runs)
    return any(later[0] < earlier[1] for earlier, later in pairwise(spans))


def test_days_are_archived_two_at_once_and_only_a_failed_day_is_retried(
    server: PrefectServer, seeder: Seeder, unique: str, tmp_path: Path
) -> None:
    pool, folder = f"{unique}pool", tmp_path / "archive"
    seeder.work_pool(pool)
    flow_id = seeder.flow(f"{unique}etl")
    noon = datetime.now(UTC).replace(hour=12, minute=0) - timedelta(days=20)
    days = [noon + timedelta(days=number) for number in range(3)]
    for day in days:
        bulk_finished_runs(server, flow_id, [day + timedelta(seconds=second) for second in range(RUNS_A_DAY)])
    # A file in place of the folder of the second day, so that the day cannot be written.
    obstacle = folder / "runs" / f"dt={days[1].date()}"
    obstacle.parent.mkdir(parents=True)
    obstacle.write_text("")
    command = [sys.executable, "-m", "prefect_monitoring", "archive", "deploy", "--to", folder.as_uri()]
    command += ["--pool", pool, "--since", days[0].date().isoformat(), "--cron", ""]
    done = subprocess.run(command, env=env_for(server), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    deployment = seeder.call("GET", f"/deployments/name/{FLOW}/archive")
    assert deployment["schedules"] == []

    worker = start_worker(server, pool, tmp_path)
    try:
        until = (days[2] + timedelta(days=1)).date().isoformat()
        body = {"parameters": {"until": until, "retry_seconds": 2, "retries": 20}}
        run_id = seeder.call("POST", f"/deployments/{deployment['id']}/create_flow_run", body)["id"]

        def tasks() -> dict[str, dict[str, Any]]:
            rows = seeder.call("POST", "/task_runs/filter", {"flow_runs": {"id": {"any_": [run_id]}}})
            return {row["name"]: row for row in rows}

        failing = f"archive-{days[1].date()}"
        wait_until(lambda: tasks().get(failing, {}).get("run_count", 0) > 1, 120, "a second try of the day that fails")
        obstacle.unlink()
        wait_until(lambda: seeder.read(run_id)["state_type"] == "COMPLETED", 120, "the end of the flow")
        wait_until(lambda: all(row["end_time"] for row in tasks().values()), 60, "the ends of its tasks")
    finally:
        worker.kill_all()

    assert tasks()[failing]["run_count"] > 1
    others = [row for name, row in tasks().items() if name != failing]
    assert {row["run_count"] for row in others} == {1}
    assert overlap(list(tasks().values()))
    files = f"'{folder}/runs/dt=*/*.parquet'"
    mine = f"select dt, count(*), count(distinct id) from {files} where flow = '{unique}etl' group by dt"
    found = duckdb.sql(mine)
    assert {(row[0], row[1], row[2]) for row in found.fetchall()} == {
        (date.fromisoformat(str(day.date())), RUNS_A_DAY, RUNS_A_DAY) for day in days
    }
