"""The sink and `check` through real boto3 over HTTP, against moto with faults."""

from __future__ import annotations

import shutil
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from prefect_monitoring.cli import main
from prefect_monitoring.commands import check_cloudwatch as checks
from prefect_monitoring.config.settings import SettingsError
from prefect_monitoring.flows.aws import make_client
from prefect_monitoring.model.sink_status import SinkError
from prefect_monitoring.sinks import running
from prefect_monitoring.sinks.cloudwatch import sink as sinks
from support.aws import StandIn, aws_stand_in
from support.options import settings_with
from unit.sink_world import MINUTE, World, until

pytestmark = pytest.mark.slow

NO_RIGHT = "AWS credentials are missing, not valid, or without the right cloudwatch:PutMetricData"
CHOSEN = settings_with(cloudwatch_pipelines="etl/.*")


@pytest.fixture(scope="module")
def server() -> Iterator[StandIn]:
    with aws_stand_in() as server:
        yield server


@pytest.fixture
def stand_in(server: StandIn, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sinks, "LONGEST_WAIT", 0.01)
    server.faults.clear()
    server.requests = 0
    return server


@pytest.fixture
async def world(stand_in: StandIn, tmp_path: Path, empty_ledger: Path) -> AsyncIterator[World]:
    shutil.copy(empty_ledger, tmp_path / "ledger.db")
    new_world = World(tmp_path, now=time.time() // MINUTE * MINUTE - 3600)
    new_world.make_client = lambda: make_client("cloudwatch")
    await new_world.begin()
    await new_world.load_baseline()
    yield new_world
    await new_world.crash()


def sum_of(stand_in: StandIn, name: str) -> tuple[float, float]:
    """Sum and count of the values of a pipeline's metric at AWS, over the last two hours."""
    dimensions = {"Flow": "etl", "Deployment": "daily", "Installation": "prod"}
    answer = stand_in.client("cloudwatch").get_metric_statistics(
        Namespace="DataPipelines",
        MetricName=name,
        Dimensions=[{"Name": key, "Value": value} for key, value in dimensions.items()],
        StartTime=datetime.now(UTC) - timedelta(hours=2),
        EndTime=datetime.now(UTC) + timedelta(hours=1),
        Period=86400,
        Statistics=["Sum", "SampleCount"],
    )
    points = answer["Datapoints"]
    return sum(point["Sum"] for point in points), sum(point["SampleCount"] for point in points)


async def test_outage_over_http_is_caught_up_and_sums_match_the_ledger(world: World, stand_in: StandIn) -> None:
    stand_in.faults.extend(["throttled", "lost", "unavailable", "denied"])
    for _ in range(5):
        await world.end("COMPLETED")
        await world.end("FAILED")
        await world.pass_time()
    await world.settle()
    seconds = float(sum(range(2, 12, 2)))
    assert sum_of(stand_in, "RunsCompleted") == sum_of(stand_in, "RunsFailed") == (5.0, 5.0)
    assert sum_of(stand_in, "RunDuration") == (seconds, 5.0)
    assert world.sink.status.errors[SinkError.CREDENTIALS] == 1
    assert not stand_in.faults


async def test_hanging_cloudwatch_is_given_up_and_retried(world: World, stand_in: StandIn) -> None:
    world.make_client = lambda: make_client("cloudwatch", read_seconds=0.1, attempts=1)
    stand_in.faults.extend(["hangs"] * 2)
    await world.pass_time()
    await world.pass_time()
    await until(lambda: world.sink.status.errors[SinkError.UNREACHABLE] >= 2)
    world.make_client = lambda: make_client("cloudwatch", read_seconds=60)
    await world.settle()
    assert world.sink.status.last_success is not None


# check


async def test_check_of_working_cloudwatch_pushes_nothing(stand_in: StandIn) -> None:
    finding = await checks._check_access(settings_with(cloudwatch_namespace="Checked").cloudwatch)
    assert (finding.ok, finding.text) == (True, "cloudwatch: eu-west-1 accepts metrics into Checked")
    assert stand_in.client("cloudwatch").list_metrics(Namespace="Checked")["Metrics"] == []


async def test_check_accepts_the_refusal_of_its_empty_request(stand_in: StandIn) -> None:
    stand_in.faults.append("invalid")
    assert (await checks._check_access(CHOSEN.cloudwatch)).ok


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ("denied", f"cloudwatch: {NO_RIGHT} (ClientError (AccessDeniedException))"),
        ("bad key", f"cloudwatch: {NO_RIGHT} (ClientError (UnrecognizedClientException))"),
    ],
)
async def test_check_reports_a_fault_in_one_line(stand_in: StandIn, fault: str, text: str) -> None:
    stand_in.faults.append(fault)
    finding = await checks._check_access(CHOSEN.cloudwatch)
    assert (finding.ok, finding.text) == (False, text)


@pytest.mark.parametrize(
    ("variable", "value", "text"),
    [
        ("AWS_DEFAULT_REGION", None, "cloudwatch: AWS's settings cannot be used (NoRegionError; set AWS_REGION)"),
        ("AWS_PROFILE", "none", "cloudwatch: AWS's settings cannot be used (ProfileNotFound)"),
        ("AWS_ACCESS_KEY_ID", None, f"cloudwatch: {NO_RIGHT} (NoCredentialsError)"),
        (
            "AWS_ENDPOINT_URL",
            "http://127.0.0.1:9",
            "cloudwatch: AWS does not answer: check the region, the proxy and the network (EndpointConnectionError)",
        ),
    ],
)
async def test_check_names_the_missing_setting(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch, variable: str, value: str | None, text: str
) -> None:
    monkeypatch.delenv("AWS_REGION", raising=False)
    if value is None:
        monkeypatch.delenv(variable)
    else:
        monkeypatch.setenv(variable, value)
    if variable == "AWS_ACCESS_KEY_ID":
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    finding = await checks._check_access(CHOSEN.cloudwatch)
    assert (finding.ok, finding.text) == (False, text)


async def test_check_without_boto3_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "find_spec", lambda _name: None)
    (finding,) = await checks.check_cloudwatch(CHOSEN)
    assert (finding.ok, finding.text) == (
        False,
        "cloudwatch: boto3 is not installed: pip install 'prefect-monitoring[aws]'",
    )


async def test_check_is_silent_if_cloudwatch_is_disabled() -> None:
    assert await checks.check_cloudwatch(settings_with()) == []


def test_serve_without_boto3_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(running, "find_spec", lambda _name: None)
    running.check_sinks(settings_with())
    with pytest.raises(SettingsError, match="CloudWatch needs boto3"):
        running.check_sinks(CHOSEN)
    assert main(["serve", "--cloudwatch-pipelines", ".*"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("CloudWatch needs boto3: pip install 'prefect-monitoring[aws]'")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "12 pipelines with 9 metrics each and PrefectUp are 109 metrics, at most about $33.13 a month"),
        ({"cloudwatch_custom_metrics": "rows"}, "12 pipelines with 10 metrics each and PrefectUp are 121 metrics"),
        ({"cloudwatch_metrics": "RunsFailed"}, "12 pipelines with 1 metrics each and PrefectUp are 13 metrics"),
    ],
)
def test_estimated_costs_cover_the_selected_metrics(options: dict[str, str], text: str) -> None:
    chosen = settings_with(cloudwatch_pipelines=".*", **options).cloudwatch
    assert checks.costs_of(12, chosen).startswith(text)
