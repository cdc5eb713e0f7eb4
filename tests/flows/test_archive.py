"""`prefect-monitoring archive` as a process on a real server: with --once, continuously, and to S3."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import httpx
import pytest

from scripts.archive_page import VIEWS, duckdb_tables
from support.aws import aws_stand_in
from support.bulk import bulk_finished_runs, bulk_logs, bulk_task_runs
from support.exposition import parse, total
from support.http_client import CLIENT
from support.ports import free_port
from support.prefect_server import PrefectServer, env_for
from support.processes import start, wait_until
from support.seeder import Seeder

COMMAND = [sys.executable, "-m", "prefect_monitoring", "archive"]
SETTLED = timedelta(minutes=15)


def archive(env: Mapping[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *options], env=dict(env), capture_output=True, text=True, check=False)


def view(folder: Path, query: str) -> list[tuple[Any, ...]]:
    with duckdb.connect() as connection:
        connection.execute(duckdb_tables(str(folder)) + VIEWS)
        return connection.execute(query).fetchall()


def test_runs_with_tasks_and_lines_are_archived_once_by_two_processes(
    server: PrefectServer, seeder: Seeder, unique: str, tmp_path: Path
) -> None:
    end = datetime.now(UTC) - SETTLED
    flow_id = seeder.flow(f"{unique}etl")
    deployment = seeder.deployment(flow_id, "nightly")
    ends = [end - timedelta(seconds=number // 3) for number in range(250)]
    runs = bulk_finished_runs(server, flow_id, ends, deployment_id=deployment, state="Failed", message="token=Sesam")
    bulk_task_runs(server, "load", [(run, end) for run in runs[:230]])
    bulk_logs(server, [(end, f"line {number}") for number in range(500)], flow_run_id=runs[0])
    to = ["--to", (tmp_path / "archive").as_uri(), "--archive-lookback", "1h", "--once"]
    first, second = archive(env_for(server), *to), archive(env_for(server), *to)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "Archived 0 runs" in second.stdout
    mine = f"select count(*), count(distinct id) from latest_runs where flow = '{unique}etl' and deployment = 'nightly'"
    assert view(tmp_path / "archive", mine) == [(250, 250)]
    joined = "select count(*) from latest_{} where flow_run_id in (select id from latest_runs where flow = '{}etl')"
    assert view(tmp_path / "archive", joined.format("task_runs", unique)) == [(230,)]
    lines = f"select list(message order by line) from latest_logs where flow_run_id = '{runs[0]}'"
    ((messages,),) = view(tmp_path / "archive", lines)
    assert sorted(messages) == sorted(f"line {number}" for number in range(500))
    one = f"select state_message, list_transform(states, lambda s: s.type) from latest_runs where id = '{runs[1]}'"
    assert view(tmp_path / "archive", one) == [("token=***", ["PENDING", "RUNNING", "FAILED"])]


def test_follower_archives_new_versions_serves_metrics_and_ends_cleanly(
    server: PrefectServer, seeder: Seeder, unique: str, tmp_path: Path
) -> None:
    flow_id = seeder.flow(f"{unique}followed")
    (run_id,) = bulk_finished_runs(server, flow_id, [datetime.now(UTC)], state="Failed")
    port = free_port()
    options = ["--archive-listen", f"127.0.0.1:{port}", "--archive-settle", "0s", "--archive-interval", "1s"]
    options += ["--archive-recheck", "1s", "--archive-lookback", "1h", "--to", (tmp_path / "archive").as_uri()]
    process = start([*COMMAND, *options], tmp_path / "archive.log", env=env_for(server, measured=True))
    try:

        def samples() -> Any:
            return parse(CLIENT.get(f"http://127.0.0.1:{port}/metrics").text)

        def states() -> list[str]:
            query = f"select state_type from latest_runs where id = '{run_id}'"
            return [state for (state,) in view(tmp_path / "archive", query)]

        waits = (httpx.HTTPError, duckdb.Error)
        wait_until(lambda: states() == ["FAILED"], 60, "the failed run", ignore=waits)
        seeder.mark(run_id, "COMPLETED")
        wait_until(lambda: states() == ["COMPLETED"], 60, "its newer version", ignore=waits)
        oldest = "prefect_exporter_archive_oldest_unarchived_timestamp_seconds"
        now = datetime.now(UTC).timestamp()
        wait_until(lambda: total(samples(), oldest) > now, 60, "another pass", ignore=waits)
        assert total(samples(), "prefect_exporter_archive_runs_total") >= 2
        assert total(samples(), "prefect_exporter_archive_up") == 1
    finally:
        code = process.stop()
    assert code == 0, process.output()
    assert "WARNING" not in process.output()


@pytest.fixture
def bucket() -> Iterator[tuple[Any, dict[str, str]]]:
    with aws_stand_in() as aws:
        yield aws.bucket("archive"), aws.environment() | {"AWS_SECRET_ACCESS_KEY": "Sesam-0451"}


def test_archive_on_s3_is_encrypted_and_a_missing_bucket_is_reported(
    server: PrefectServer, seeder: Seeder, unique: str, tmp_path: Path, bucket: tuple[Any, dict[str, str]]
) -> None:
    made, settings = bucket
    made.Acl().put(ACL="public-read")
    (run_id,) = bulk_finished_runs(server, seeder.flow(f"{unique}s3"), [datetime.now(UTC) - SETTLED])
    to = ("--once", "--archive-lookback", "1h", "--archive-encryption", "sse-s3", "--to")
    done = archive(env_for(server) | settings, *to, "s3://archive/prefect")
    assert done.returncode == 0, done.stderr
    assert "can be read by everybody" in done.stderr
    for found in made.objects.filter(Prefix="prefect/"):
        path = tmp_path / found.key
        path.parent.mkdir(parents=True, exist_ok=True)
        made.download_file(found.key, str(path))
        assert found.Object().server_side_encryption == "AES256"
    folder = str(tmp_path / "prefect/runs")
    assert duckdb.sql(f"select id from '{folder}/dt=*/*.parquet' where id = '{run_id}'").fetchall() == [(run_id,)]
    missing = archive(env_for(server) | settings, *to, "s3://no-such-bucket/prefect")
    assert missing.returncode == 2
    assert "the bucket does not exist: create it" in missing.stderr.splitlines()[0]
    assert "Sesam" not in done.stderr + missing.stderr
