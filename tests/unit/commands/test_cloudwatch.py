"""`cloudwatch`: plan, apply and destroy over HTTP, against a stand-in for Prefect and moto."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from prefect_monitoring.cli import main
from prefect_monitoring.cli.parser import FAULT
from prefect_monitoring.commands import cloudwatch as command
from prefect_monitoring.commands.cloudwatch import cloudwatch
from prefect_monitoring.commands.plans import WOULD_CHANGE, Choices
from prefect_monitoring.config.loading import load_settings
from prefect_monitoring.config.settings import CONFIG_ENV, SettingsError
from prefect_monitoring.sinks.cloudwatch.native.account import AccountError, NotOursError
from support.aws import StandIn, aws_stand_in
from unit.loopback import Answer, Asked, loopback

PIPELINES = "pipelines: [{flow: etl, deployment: daily, slo: {max_duration: 30m, max_staleness: 26h}}]"
PREFIX = "prefect-monitoring prod: "
OURS = {f"{PREFIX}{title}" for title in ("exporter silent", *(f"etl/daily {kind}" for kind in ("failures", "no data")))}
OURS |= {f"{PREFIX}etl/daily {kind}" for kind in ("duration", "success ratio")}
FLOW, DAILY = (f"00000000-0000-0000-0000-00000000000{number}" for number in (1, 2))


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CONFIG_ENV, raising=False)


@pytest.fixture(scope="module")
def server() -> Iterator[StandIn]:
    with aws_stand_in() as stand_in:
        yield stand_in


@pytest.fixture
def aws(server: StandIn, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    server.faults.clear()
    client = server.client("cloudwatch")
    client.delete_alarms(AlarmNames=[alarm["AlarmName"] for alarm in client.describe_alarms()["MetricAlarms"]])
    if names := dashboards(client):
        client.delete_dashboards(DashboardNames=names)
    return client


@pytest.fixture
async def prefect() -> AsyncIterator[None]:
    rows = {
        "/api/flows/filter": [{"id": FLOW, "name": "etl"}],
        "/api/deployments/filter": [{"id": DAILY, "name": "daily", "flow_id": FLOW, "tags": []}],
    }

    def answer(asked: Asked) -> Answer:
        return Answer(body=rows[asked.path])

    async with loopback() as site:
        site.answer = answer
        with temporary_settings({PREFECT_API_URL: site.url}):
            yield


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "pipelines.yml"
    path.write_text(PIPELINES, encoding="utf-8")
    return path


def alarms(client: Any) -> dict[str, dict[str, Any]]:
    return {alarm["AlarmName"]: alarm for alarm in client.describe_alarms()["MetricAlarms"]}


def dashboards(client: Any) -> list[str]:
    return [entry["DashboardName"] for entry in client.list_dashboards()["DashboardEntries"]]


async def run(step: str, file: Path, *, detailed: bool = False, **flags: str) -> tuple[int, str]:
    given = {"pipelines": str(file), "installation": "prod", "cloudwatch_pipelines": ".+/.+", **flags}
    out = StringIO()
    code = await cloudwatch(load_settings(given, {}), Choices(step, yes=True, detailed_exitcode=detailed), out)
    return code, out.getvalue()


@pytest.mark.usefixtures("prefect")
async def test_plan_shows_changes_and_writes_nothing(aws: Any, file: Path) -> None:
    code, text = await run("plan", file, detailed=True)
    assert code == WOULD_CHANGE
    lines = text.splitlines()
    assert lines[0] == "Installation prod in eu-west-1, namespace DataPipelines"
    assert lines[lines.index(f"  + create   {PREFIX}etl/daily duration") + 2] == (
        "             Maximum of RunDuration > 1800 over 5 min"
    )
    assert "6 to create, 0 to change, 0 to destroy; 0 unchanged" in lines
    assert any("5 alarms are about $0.50 a month" in line for line in lines)
    assert (alarms(aws), dashboards(aws)) == ({}, [])


@pytest.mark.usefixtures("prefect")
async def test_apply_twice_changes_nothing_the_second_time(aws: Any, file: Path) -> None:
    topic = "arn:aws:sns:eu-west-1:123456789012:ops"
    await run("apply", file, cloudwatch_alarm_actions=topic)
    made = alarms(aws)
    assert made.keys() == OURS
    assert dashboards(aws) == ["prefect-monitoring-prod"]
    tags = aws.list_tags_for_resource(ResourceARN=next(iter(made.values()))["AlarmArn"])["Tags"]
    assert tags == [{"Key": "prefect-monitoring", "Value": "prod"}]
    code, text = await run("plan", file, detailed=True, cloudwatch_alarm_actions=topic)
    assert (code, "Nothing to change; 6 unchanged" in text) == (0, True)


@pytest.mark.usefixtures("prefect")
async def test_apply_reverts_drift_but_keeps_actions_disabled(aws: Any, file: Path) -> None:
    await run("apply", file)
    edited = alarms(aws)[f"{PREFIX}etl/daily duration"]
    kept = ("AlarmName", "Namespace", "MetricName", "Dimensions", "Statistic", "Period", "ComparisonOperator")
    aws.put_metric_alarm(**{key: edited[key] for key in kept}, Threshold=1.0, EvaluationPeriods=2, ActionsEnabled=False)
    aws.put_dashboard(DashboardName="prefect-monitoring-prod", DashboardBody=with_another_chart(aws))
    _, text = await run("apply", file)
    assert "Threshold: 1.0 → 1800.0" in text
    assert "are switched off in CloudWatch, and stay so" in text
    repaired = alarms(aws)[f"{PREFIX}etl/daily duration"]
    assert (repaired["Threshold"], repaired["EvaluationPeriods"], repaired["ActionsEnabled"]) == (1800.0, 1, False)
    assert "Nothing to change" in (await run("plan", file))[1]


def with_another_chart(aws: Any) -> str:
    body: str = aws.get_dashboard(DashboardName="prefect-monitoring-prod")["DashboardBody"]
    return body.replace("Failed runs in a row", "Mine")


@pytest.mark.usefixtures("prefect")
async def test_destroy_removes_only_its_own(aws: Any, file: Path) -> None:
    theirs = {"Namespace": "x", "MetricName": "m", "ComparisonOperator": "GreaterThanThreshold", "Threshold": 1.0}
    theirs |= {"Period": 60, "EvaluationPeriods": 1, "Statistic": "Sum"}
    aws.put_metric_alarm(AlarmName=f"{PREFIX}copied by hand", **theirs)
    aws.put_dashboard(DashboardName="prefect-monitoring-other", DashboardBody='{"widgets":[]}')
    await run("apply", file)
    await run("apply", file, installation="staging")
    assert len(alarms(aws)) == 11
    await run("destroy", file)
    left = alarms(aws).keys()
    assert {name for name in left if name.startswith(PREFIX)} == {f"{PREFIX}copied by hand"}
    assert len(left) == 6
    assert sorted(dashboards(aws)) == ["prefect-monitoring-other", "prefect-monitoring-staging"]
    assert "Nothing to change" in (await run("destroy", file))[1]


@pytest.mark.usefixtures("prefect")
async def test_foreign_alarm_under_our_name_is_refused_and_left_alone(aws: Any, file: Path) -> None:
    """Uses a separate installation name: moto remembers the tags of deleted alarms."""
    name = "prefect-monitoring taken: exporter silent"
    theirs = {"Namespace": "x", "MetricName": "m", "ComparisonOperator": "GreaterThanThreshold", "Threshold": 7.0}
    theirs |= {"Period": 60, "EvaluationPeriods": 1, "Statistic": "Sum"}
    aws.put_metric_alarm(AlarmName=name, **theirs)
    aws.put_dashboard(DashboardName="prefect-monitoring-taken", DashboardBody='{"widgets":[]}')
    with pytest.raises(NotOursError, match=r"alarm .*exporter silent, dashboard prefect-monitoring-taken: rename"):
        await run("apply", file, installation="taken")
    assert {name: alarm["Threshold"] for name, alarm in alarms(aws).items()} == {name: 7.0}
    assert "Nothing to change" in (await run("destroy", file, installation="taken"))[1]


@pytest.mark.usefixtures("prefect")
async def test_failed_write_stops_with_its_reason(aws: Any, file: Path, server: StandIn) -> None:
    reads = ["", "", ""]
    server.faults.extend([*reads, "", "", "denied"])
    with pytest.raises(
        AccountError, match=r"cannot \w+ .*credentials: .*\nWhat is reported above was changed: run the"
    ):
        await run("apply", file)
    await run("apply", file)
    assert alarms(aws).keys() == OURS


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"installation": ""}, "--installation: give this installation a name"),
        ({"cloudwatch_pipelines": ""}, "--cloudwatch-pipelines: name the pipelines"),
    ],
)
async def test_missing_prerequisite_is_named(flags: dict[str, str], message: str, file: Path) -> None:
    with pytest.raises(SettingsError, match=message):
        await run("plan", file, **flags)


async def test_without_boto3_the_extra_is_named(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "find_spec", lambda _name: None)
    with pytest.raises(SettingsError, match=r"CloudWatch needs boto3: pip install 'prefect-monitoring\[aws\]'"):
        await run("destroy", file)


def test_missing_aws_region_is_a_one_line_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], server: StandIn
) -> None:
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.delenv("AWS_REGION", raising=False)
    assert main(["cloudwatch", "destroy", "--yes", "--installation", "prod"]) == FAULT
    assert capsys.readouterr().err == (
        "prefect-monitoring: CloudWatch: cannot connect: configuration: NoRegionError; set AWS_REGION\n"
    )
    assert main(["cloudwatch", "plan", "--detailed-exitcode", "--installation", "prod"]) == 1
