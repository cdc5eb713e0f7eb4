"""push_cloudwatch through real boto3 against an AWS stand-in: it batches, and never fails or delays the flow."""

from __future__ import annotations

import logging
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from prefect_monitoring.flows import cloudwatch
from prefect_monitoring.flows.cloudwatch import flush_cloudwatch, push_cloudwatch
from support.aws import StandIn, aws_stand_in


@pytest.fixture(scope="module")
def aws() -> Iterator[StandIn]:
    with aws_stand_in() as aws:
        yield aws


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, aws: StandIn, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """The sender of a new process, with AWS settings for the stand-in."""
    for name, value in aws.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(cloudwatch, "_SENDER", cloudwatch._Sender())
    caplog.set_level(logging.WARNING, "prefect_monitoring.flows")
    return caplog


def sums(aws: StandIn, namespace: str, name: str, **dimensions: str) -> tuple[float, float]:
    """Sum and count of a metric at AWS."""
    client = aws.client("cloudwatch")
    answer = client.get_metric_statistics(
        Namespace=namespace,
        MetricName=name,
        Dimensions=[{"Name": key, "Value": value} for key, value in dimensions.items()],
        StartTime=datetime.now(UTC) - timedelta(hours=1),
        EndTime=datetime.now(UTC) + timedelta(hours=1),
        Period=86400,
        Statistics=["Sum", "SampleCount"],
    )
    points = answer["Datapoints"]
    return sum(point["Sum"] for point in points), sum(point["SampleCount"] for point in points)


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_push_cloudwatch_from_many_threads_arrives_complete(fresh: pytest.LogCaptureFixture, aws: StandIn) -> None:
    def push(table: str) -> None:
        for number in range(500):
            push_cloudwatch("RowsLoaded", number % 7, "Count", namespace="threads", Table=table)

    threads = [threading.Thread(target=push, args=(f"t{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert flush_cloudwatch(60)
    expected = float(sum(number % 7 for number in range(500)))
    assert [sums(aws, "threads", "RowsLoaded", Table=f"t{number}") for number in range(4)] == [(expected, 500.0)] * 4
    assert not fresh.messages


def test_push_cloudwatch_after_a_pause_is_sent_without_a_flush(
    fresh: pytest.LogCaptureFixture, aws: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cloudwatch, "FLUSH_SECONDS", 0.05)
    monkeypatch.setenv(cloudwatch.NAMESPACE_VARIABLE, "paused")
    for expected in (1.0, 2.0):
        push_cloudwatch("Runs", 1)
        wait_until(lambda wanted=expected: sums(aws, "paused", "Runs") == (wanted, wanted))
    assert not fresh.messages


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("Rows", math.nan, "Count"), "not a finite"),
        (("Rows", 1, "Rows"), "no unit of CloudWatch"),
        (("Rows", "many", "Count"), "could not convert"),
        (("Rows", None, "Count"), "NoneType"),
        (("", 1, "Count"), "a name has"),
    ],
)
def test_push_cloudwatch_refused_by_aws_warns_and_continues(
    fresh: pytest.LogCaptureFixture, arguments: tuple[str, float, str], reason: str
) -> None:
    push_cloudwatch(*arguments)
    assert len(fresh.messages) == 1
    assert reason in fresh.messages[0]


def test_push_cloudwatch_of_an_old_value_warns(fresh: pytest.LogCaptureFixture) -> None:
    push_cloudwatch("Rows", 1, timestamp=datetime.now(UTC) - timedelta(days=15))
    assert "two weeks" in fresh.text


def test_push_cloudwatch_without_boto3_warns_once_and_names_the_extra(
    fresh: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cloudwatch, "find_spec", lambda name: None)
    push_cloudwatch("Rows", 1)
    push_cloudwatch("Rows", 2)
    assert len(fresh.messages) == 1
    assert "pip install 'prefect-monitoring[aws]'" in fresh.messages[0]
    assert flush_cloudwatch(0)


def test_push_cloudwatch_without_a_region_warns_once(
    fresh: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.delenv("AWS_REGION", raising=False)
    for _ in range(2):
        push_cloudwatch("Rows", 1)
        assert flush_cloudwatch(60)
    assert [message for message in fresh.messages if "NoRegionError; set AWS_REGION" in message] == fresh.messages
    assert len(fresh.messages) == 1


def test_push_cloudwatch_uses_the_region_of_aws_containers(
    fresh: pytest.LogCaptureFixture, aws: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_REGION", os.environ["AWS_DEFAULT_REGION"])
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    push_cloudwatch("Rows", 3, namespace="container")
    assert flush_cloudwatch(60)
    assert sums(aws, "container", "Rows") == (3.0, 1.0)


@pytest.mark.parametrize("error", [ConnectionError("down"), RuntimeError("throttled")])
def test_push_cloudwatch_while_aws_fails_warns_once_per_cause(
    fresh: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    class Client:
        def put_metric_data(self, **_: object) -> None:
            raise error

    monkeypatch.setattr(cloudwatch, "make_client", lambda service: Client())
    for number in range(3):
        push_cloudwatch("Rows", number)
        assert flush_cloudwatch(60)
    assert fresh.messages == [f"CloudWatch refused 1 metrics: {type(error).__name__}"]


def test_push_cloudwatch_while_aws_hangs_returns_at_once_and_drops_the_excess(
    fresh: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    release, is_called = threading.Event(), threading.Event()

    class Client:
        def put_metric_data(self, **_: object) -> None:
            is_called.set()
            release.wait(60)

    monkeypatch.setattr(cloudwatch, "make_client", lambda service: Client())
    monkeypatch.setattr(cloudwatch, "FLUSH_SECONDS", 0.0)
    monkeypatch.setattr(cloudwatch, "MAX_PENDING", 10)
    push_cloudwatch("Rows", 0)
    assert is_called.wait(60)
    for number in range(20):
        push_cloudwatch("Rows", number)
    assert not flush_cloudwatch(0.01)
    release.set()
    assert flush_cloudwatch(60)
    assert any("10 values wait" in message for message in fresh.messages)


SCRIPT = """
import multiprocessing, sys
from prefect_monitoring.flows import push_cloudwatch

def push(number):
    push_cloudwatch("Rows", number, "Count")

if __name__ == "__main__":
    push(1)
    for method in ("spawn", "fork"):
        child = multiprocessing.get_context(method).Process(target=push, args=(10,))
        child.start()
        child.join()
        assert child.exitcode == 0
"""


def test_push_cloudwatch_is_flushed_at_process_exit(aws: StandIn, tmp_path: Path) -> None:
    script = tmp_path / "push.py"
    script.write_text(SCRIPT)
    env = os.environ | aws.environment() | {"PREFECT_MONITORING_CLOUDWATCH_NAMESPACE": "ends"}
    done = subprocess.run([sys.executable, script], env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert sums(aws, "ends", "Rows") == (21.0, 3.0)
