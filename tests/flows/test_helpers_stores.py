"""Data that flows store: run documents, trend points and CloudWatch metrics, with a real server."""

import gzip
import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from prefect_monitoring.flows import blocks
from prefect_monitoring.flows.blocks import PipelineMetrics
from support.aws import StandIn, aws_stand_in
from support.prefect_server import PrefectServer, env_for
from support.proxy import FaultProxy
from support.running_flows import HELPER_FLOWS, run_helpers
from support.seeder import Seeder

AT_ONCE = 2
TIMES = 100


@pytest.fixture(scope="module")
def aws() -> Iterator[StandIn]:
    with aws_stand_in() as aws:
        yield aws


def plan(unique: str, to: str, **other: object) -> dict[str, Any]:
    return {"part": "archive", "prefix": unique, "to": to, "parameters": False, "max_seconds": 60, "lines": 3} | other


def run_of(seeder: Seeder, flow: str) -> dict[str, Any]:
    (run,) = seeder.call("POST", "/flow_runs/filter", {"flows": {"name": {"any_": [flow]}}})
    assert isinstance(run, dict)
    return run


def test_archive_logs_writes_all_of_a_run_to_disk(
    server: PrefectServer, seeder: Seeder, unique: str, tmp_path: Path
) -> None:
    to = (tmp_path / "archive of runs").as_uri()
    seen = run_helpers(server, tmp_path, **plan(unique, to, lines=450, parameters=True))
    assert seen["answer"] == 450
    run = run_of(seeder, f"{unique}archived")
    (path,) = (tmp_path / "archive of runs" / "flow-runs").iterdir()
    assert path.name == f"{run['id']}.json.gz"
    text = gzip.decompress(path.read_bytes()).decode()
    document = json.loads(text)
    assert (document["flow"], document["deployment"], document["logs_complete"]) == (f"{unique}archived", None, True)
    assert document["flow_run"]["state"]["type"] == "COMPLETED"
    assert document["flow_run"]["parameters"] == {
        "lines": 450,
        "api_key": "***",
        "dsn": "postgresql://***@db/dwh",
    }
    assert [state["type"] for state in document["states"]] == ["PENDING", "RUNNING", "COMPLETED"]
    assert [(task["state"]["type"], task["run_count"]) for task in document["task_runs"]] == [("COMPLETED", 2)]
    messages = [line["message"] for line in document["logs"]]
    assert [message for message in messages if message.startswith("line ")] == [f"line {at}" for at in range(450)]
    assert any("password=***" in message for message in messages)
    assert "hunter2" not in text
    assert "k3y-of-mine" not in text


def test_archive_logs_writes_to_s3(
    server: PrefectServer, seeder: Seeder, unique: str, aws: StandIn, tmp_path: Path
) -> None:
    bucket = aws.bucket("runs")
    run_helpers(server, tmp_path, aws.environment(), **plan(unique, f"s3://runs/{unique}prefix/"))
    key = f"{unique}prefix/flow-runs/{run_of(seeder, f'{unique}archived')['id']}.json.gz"
    document = json.loads(gzip.decompress(bucket.Object(key).get()["Body"].read()))
    assert sum(line["message"].startswith("line ") for line in document["logs"]) == 3
    assert "parameters" not in document["flow_run"]


def test_archive_logs_that_cannot_be_written_is_a_warning(
    server: PrefectServer, seeder: Seeder, unique: str, aws: StandIn, tmp_path: Path
) -> None:
    seen = run_helpers(server, tmp_path, aws.environment(), **plan(unique, "s3://no-such-bucket-here"))
    assert seen["answer"] == 3
    criteria = {"flow_run_id": {"any_": [run_of(seeder, f"{unique}archived")["id"]]}}
    lines = seeder.call("POST", "/logs/filter", {"logs": criteria})
    assert any("was not archived: NoSuchBucket (NoSuchBucket)" in line["message"] for line in lines)


def test_archive_logs_gives_up_in_time_while_prefect_hangs(
    server: PrefectServer, proxy: FaultProxy, unique: str, tmp_path: Path
) -> None:
    proxy.hang(path="/logs/filter")
    env = {"PREFECT_API_URL": proxy.url, "PREFECT_CLIENT_ENABLE_EVENTS": "false"}
    seen = run_helpers(server, tmp_path, env, **plan(unique, (tmp_path / "archive").as_uri(), max_seconds=2))
    assert seen["answer"] == 3
    assert seen["seconds"][0] < 30, "Prefect's own client would wait for a minute"
    assert not list((tmp_path / "archive").glob("**/*.json.gz"))


def test_push_cloudwatch_from_tasks_arrives_when_the_process_ends(
    server: PrefectServer, unique: str, aws: StandIn, tmp_path: Path
) -> None:
    env = aws.environment() | {"PREFECT_MONITORING_CLOUDWATCH_NAMESPACE": unique}
    seen = run_helpers(server, tmp_path, env, part="cloudwatch", prefix=unique)
    assert seen["seconds"] < 20, "a thousand requests would take a minute"
    client = aws.client("cloudwatch")
    now = datetime.now(UTC)
    answer = client.get_metric_statistics(
        Namespace=unique,
        MetricName="RowsLoaded",
        Dimensions=[{"Name": "Table", "Value": "orders"}],
        StartTime=now - timedelta(hours=1),
        EndTime=now + timedelta(hours=1),
        Period=86400,
        Statistics=["Sum", "SampleCount"],
    )
    assert sum(point["Sum"] for point in answer["Datapoints"]) == sum(range(10)) + sum(range(1000))
    assert sum(point["SampleCount"] for point in answer["Datapoints"]) == 1010


@pytest.fixture
def block(server: PrefectServer, unique: str) -> Iterator[PipelineMetrics]:
    with temporary_settings({PREFECT_API_URL: server.url}):
        PipelineMetrics(keep_days=60).save(f"{unique}trend")
        yield PipelineMetrics.load(f"{unique}trend")


def documents(seeder: Seeder, name: str) -> list[dict[str, Any]]:
    criteria = {"name": {"like_": f"{name}-points-"}, "is_anonymous": {"eq_": True}}
    rows: list[dict[str, Any]] = seeder.call("POST", "/block_documents/filter", {"block_documents": criteria})
    return rows


def test_pipeline_metrics_of_runs_at_once_lose_nothing(
    server: PrefectServer, seeder: Seeder, block: PipelineMetrics, unique: str, tmp_path: Path
) -> None:
    running = []
    for number in range(AT_ONCE):
        directory = tmp_path / str(number)
        directory.mkdir()
        plan = {"part": "record", "prefix": unique, "block": f"{unique}trend", "times": TIMES, "first": number * TIMES}
        command = [sys.executable, str(HELPER_FLOWS), json.dumps(plan)]
        running.append(subprocess.Popen(command, env=env_for(server), cwd=directory))
    assert [process.wait(300) for process in running] == [0] * AT_ONCE
    assert sorted(point["row_count"] or 0 for point in block.recent()) == list(range(AT_ONCE * TIMES))
    assert len(documents(seeder, f"{unique}trend")) <= 2 * blocks.FOLD_ABOVE


def test_pipeline_metrics_recent_is_the_last_month_oldest_first(block: PipelineMetrics) -> None:
    now = datetime.now(UTC)
    for days, rows in ((1, 30), (40, 7), (29, 10), (70, 1)):
        block.record(row_count=rows, duration_seconds=2, timestamp=now - timedelta(days=days))
    assert [point["row_count"] for point in block.recent(days=30)] == [10, 30]
    assert [point["row_count"] for point in block.recent(days=400)] == [7, 10, 30], "keep_days is 60"
    assert set(block.recent()[0]) == {"timestamp", "row_count", "duration_seconds"}


def test_pipeline_metrics_are_bounded_in_points_and_documents(
    server: PrefectServer, seeder: Seeder, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "FOLD_ABOVE", 3)
    with temporary_settings({PREFECT_API_URL: server.url}):
        block = PipelineMetrics(max_points=5)
        block.save(f"{unique}small")
        for number in range(12):
            block.record(row_count=number)
            assert len(documents(seeder, f"{unique}small")) <= 3
        assert [point["row_count"] for point in block.recent()] == [7, 8, 9, 10, 11]


def test_pipeline_metrics_interrupted_fold_counts_each_point_once(
    seeder: Seeder, block: PipelineMetrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "FOLD_ABOVE", 3)
    with monkeypatch.context() as killed:
        killed.setattr(blocks._Store, "delete", lambda *_: None)
        for number in range(6):
            block.record(row_count=number)
    assert [point["row_count"] for point in block.recent()] == list(range(6))
    block.record(row_count=6)
    assert [point["row_count"] for point in block.recent()] == list(range(7))
    assert len(documents(seeder, str(block._block_document_name))) == 1


def test_pipeline_metrics_open_saves_the_block_once_and_keeps_its_options(server: PrefectServer, unique: str) -> None:
    with temporary_settings({PREFECT_API_URL: server.url}):
        PipelineMetrics.open(f"{unique}new").record(row_count=Decimal(1))  # type: ignore[arg-type]
        PipelineMetrics(keep_days=7).save(f"{unique}new", overwrite=True)
        opened = PipelineMetrics.open(f"{unique}new")
        assert opened.keep_days == 7
        assert [point["row_count"] for point in opened.recent()] == [1]


def test_pipeline_metrics_begin_with_points_of_the_past(server: PrefectServer, unique: str) -> None:
    past = [{"timestamp": datetime.now(UTC).isoformat(), "row_count": 1}, {"timestamp": 0, "row_count": 2}]
    with temporary_settings({PREFECT_API_URL: server.url}):
        block = PipelineMetrics(points=past)
        block.save(f"{unique}past")
        block.record(row_count=3)
        assert [point["row_count"] for point in block.recent()] == [1, 3]
        assert block.recent()[0]["duration_seconds"] is None
