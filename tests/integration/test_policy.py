"""Declared policies and the metrics for paging, on a real server."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from prefect_monitoring.commands.check import check
from support.exposition import matching, value
from support.options import settings_with
from support.prefect_server import PrefectServer
from support.rig import Rig, rig
from support.seeder import Seeder

LIMITED = """
defaults: {team: data}
pipelines:
  - flow: .*critical
    criticality: critical
    team: analytics
    labels: {domain: finance}
    slo: {max_duration: 30m, min_success_ratio: 99.5%, window: 7d, max_staleness: 26h, grace: 10m}
    metrics: {rows_extracted: {min: 1, max: 1000000}}
    max_pause: 3d
    alert_on: streak
"""
OBJECTIVES = {
    "prefect_slo_objective_ratio": 0.995,
    "prefect_slo_window_seconds": 7 * 86400,
    "prefect_slo_max_duration_seconds": 1800,
    "prefect_slo_max_staleness_seconds": 26 * 3600,
    "prefect_slo_grace_seconds": 600,
    "prefect_slo_max_pause_seconds": 3 * 86400,
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "pipelines.yml"
    path.write_text(LIMITED)
    return path


@pytest.fixture
async def exporter(server: PrefectServer, unique: str, tmp_path: Path, file: Path) -> AsyncIterator[Rig]:
    options = {"pipelines": str(file), "grafana_url": "https://grafana.example.com/"}
    async with rig(server.url, tmp_path, include_flows=f"{unique}.*", **options) as running:
        yield running


async def test_declarations_and_tags_become_metrics(
    server: PrefectServer, seeder: Seeder, unique: str, exporter: Rig, file: Path
) -> None:
    critical, tagged = f"{unique}critical", f"{unique}tagged"
    seeder.deployment(seeder.flow(critical), "prod", tags=["low", "team:other", "env:eu"])
    seeder.deployment(seeder.flow(tagged), "prod", tags=["low", "daily", "unlisted"])
    await exporter.inventory()
    await exporter.poll()

    shown = exporter.samples
    of = {"flow": critical, "deployment": "prod"}
    own = {"domain": "finance", "env": "eu", "tags": ""}
    assert value(shown, "prefect_pipeline_info", **of, criticality="critical", team="analytics", **own) == 1
    assert value(shown, "prefect_pipeline_alert_on_streak", **of) == 1
    bare = {"domain": "", "env": "", "tags": "daily"}
    info = {"criticality": "low", "team": "data", **bare}
    assert value(shown, "prefect_pipeline_info", flow=tagged, deployment="prod", **info) == 1
    assert len(matching(shown, "prefect_pipeline_info")) == 2, "runs without a deployment are not declared"
    assert {name: value(shown, name, **of) for name in OBJECTIVES} == OBJECTIVES
    assert value(shown, "prefect_slo_metric_max", **of, metric="rows_extracted") == 1e6
    assert value(shown, "prefect_slo_metric_min", **of, metric="rows_extracted") == 1
    assert value(shown, "prefect_exporter_pipelines_file_valid") == 1
    links = matching(shown, "prefect_exporter_links_info")
    found = {"prefect_url": server.url.removesuffix("/api"), "grafana_url": "https://grafana.example.com"}
    assert [dict(labels) for labels in links] == [{**found, "runbook_url": ""}]

    file.write_text(LIMITED.replace("criticality", "critical"))  # noqa: ASYNC240 a few bytes
    await exporter.poll()
    shown = exporter.samples
    assert value(shown, "prefect_exporter_pipelines_file_valid") == 0
    last = value(shown, "prefect_exporter_pipelines_file_last_success_timestamp_seconds")
    assert last == pytest.approx(time.time(), abs=60)
    assert value(shown, "prefect_slo_max_duration_seconds", **of) == 1800, "the last valid file stays in use"


async def test_failing_pipeline_is_dated_by_its_first_failure(seeder: Seeder, unique: str, exporter: Rig) -> None:
    flow = seeder.flow(f"{unique}critical")
    deployment = seeder.deployment(flow, "prod")
    of = {"flow": f"{unique}critical", "deployment": "prod"}
    ends = []
    seeder.completed(seeder.run(flow, deployment_id=deployment))
    for _ in range(3):
        run = seeder.run(flow, deployment_id=deployment)
        ends.append(datetime.fromisoformat(seeder.failed(run)["timestamp"]).timestamp())
    await exporter.inventory()
    await exporter.poll()

    shown = exporter.samples
    assert value(shown, "prefect_flow_run_failing_since_timestamp_seconds", **of) == pytest.approx(ends[0], abs=1)
    dated = [value(shown, "prefect_flow_run_failure_timestamp_seconds", **of, nth=nth) for nth in "123"]
    assert dated == pytest.approx(ends[::-1], abs=1)
    judged = [value(shown, "prefect_flow_run_window_runs", **of, window="slo", result=one) for one in ("good", "bad")]
    assert judged == [1, 3]

    seeder.completed(seeder.run(flow, deployment_id=deployment))
    await exporter.poll()
    assert value(exporter.samples, "prefect_flow_run_failing_since_timestamp_seconds", **of) is None


async def test_start_stays_unmet_until_a_run_completes(seeder: Seeder, unique: str, exporter: Rig) -> None:
    flow = seeder.flow(f"{unique}etl")
    deployment = seeder.deployment(flow, "frequent", interval=2)
    seeder.schedule(deployment)
    of = {"flow": f"{unique}etl", "deployment": "frequent"}
    unmet, last = (f"prefect_deployment_{which}_due_timestamp_seconds" for which in ("unmet", "last"))
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        await exporter.inventory()
        await exporter.poll()
        shown = exporter.samples
        first, newest = value(shown, unmet, **of), value(shown, last, **of)
        if first and newest and newest >= first + 4:
            break
        time.sleep(0.5)  # noqa: ASYNC251 nothing else runs in this loop
    assert first is not None
    assert newest is not None
    assert newest >= first + 4, "later starts pass, the first stays the unmet one"

    seeder.completed(seeder.run(flow, deployment_id=deployment))
    await exporter.poll()
    later = value(exporter.samples, unmet, **of)
    assert later is None or later > newest


async def test_pause_is_dated(seeder: Seeder, unique: str, exporter: Rig) -> None:
    seeder.deployment(seeder.flow(f"{unique}etl"), "shut", paused=True)
    await exporter.inventory()
    await exporter.inventory()

    since = value(
        exporter.samples, "prefect_deployment_paused_since_timestamp_seconds", flow=f"{unique}etl", deployment="shut"
    )
    assert since == pytest.approx(time.time(), abs=60)


@pytest.mark.parametrize("way", ["old UI", "new UI", "flow"])
async def test_retry_is_dated_by_its_due_time(seeder: Seeder, unique: str, exporter: Rig, way: str) -> None:
    flow = seeder.flow(f"{unique}etl")
    run = seeder.run(flow, deployment_id=seeder.deployment(flow, "daily"))
    seeder.running(run)
    due = time.time() + 600
    if way == "flow":
        seeder.call("PATCH", f"/flow_runs/{run}", {"empirical_policy": {"retries": 1, "retry_delay": 600}})
        assert seeder.propose(run, "FAILED")["status"] == "REJECT", "it will be retried"
    else:
        seeder.failed(run)
        seeder.retry_from_ui(run, scheduled_time=datetime.fromtimestamp(due, UTC), force=way == "new UI")
    await exporter.poll()
    of = {"flow": f"{unique}etl", "deployment": "daily", "state": "awaiting_retry"}
    shown = value(exporter.samples, "prefect_flow_run_oldest_state_timestamp_seconds", **of)
    assert shown == pytest.approx(due, abs=30)


async def test_attempts_of_a_running_run_add_up(seeder: Seeder, unique: str, exporter: Rig) -> None:
    flow = seeder.flow(f"{unique}etl")
    run = seeder.run(flow, deployment_id=seeder.deployment(flow, "daily"))
    seeder.call("PATCH", f"/flow_runs/{run}", {"empirical_policy": {"retries": 1, "retry_delay": 0}})

    async def age() -> float:
        await exporter.poll()
        shown = matching(exporter.samples, "prefect_flow_run_oldest_state_timestamp_seconds", flow=f"{unique}etl")
        (since,) = shown.values()
        return time.time() - since

    begun = time.time()
    seeder.running(run)
    await asyncio.sleep(3)
    assert seeder.propose(run, "FAILED")["status"] == "REJECT"
    waited_from = time.time()
    await asyncio.sleep(3)
    waited = time.time() - waited_from
    seeder.set_state(run, "RUNNING")
    in_second = await age()
    assert 3 <= in_second <= time.time() - begun - waited, "includes the first attempt, without the wait for the second"

    seeder.failed(run)
    seeder.retry_from_ui(run)
    seeder.set_state(run, "PENDING")
    anew = time.time()
    seeder.set_state(run, "RUNNING")
    assert await age() <= time.time() - anew, "the age starts again"


async def test_subflow_whose_parent_is_over_is_an_orphan(seeder: Seeder, unique: str, exporter: Rig) -> None:
    parent = seeder.run(seeder.flow(f"{unique}parent"))
    seeder.running(parent)
    child = seeder.run(seeder.flow(f"{unique}child"), parent=parent)
    seeder.running(child)
    of = {"flow": f"{unique}child", "deployment": ""}
    await exporter.poll()
    assert value(exporter.samples, "prefect_flow_run_orphans", **of) is None

    seeder.crashed(parent)
    await exporter.poll()
    assert value(exporter.samples, "prefect_flow_run_orphans", **of) == 1
    seeder.cancelled(child)
    await exporter.poll()
    assert value(exporter.samples, "prefect_flow_run_orphans", **of) is None


async def test_check_advises_on_entries_of_a_valid_file(
    server: PrefectServer, seeder: Seeder, unique: str, tmp_path: Path, exporter: Rig
) -> None:
    flow = seeder.flow(f"{unique}critical")
    deployment = seeder.deployment(flow, "prod")
    seeder.completed(seeder.run(flow, deployment_id=deployment))
    seeder.run(flow, deployment_id=deployment, state="Scheduled", at=datetime.now(UTC) + timedelta(hours=1))
    file = tmp_path / "reviewed.yml"
    file.write_text(f"pipelines: [{{flow: {unique}.*}}, {{flow: {unique}critical}}, {{flow: {unique}gone}}]")

    findings = await check(settings_with(pipelines=str(file), ledger_url=f"sqlite:///{tmp_path}/other.db"))
    advice = [finding.text for finding in findings if finding.advice]
    assert [finding.text for finding in findings if not finding.ok] == []
    assert [f"{unique}critical) never applies" in text for text in advice] == [True, False, False]
    assert f"{unique}gone) matches nothing" in advice[1]
    assert f"{unique}critical/prod: 0.99 of 1 runs in 30d allows 0.01 failures" in advice[2]

    seeder.completed(seeder.run(flow))
    file.write_text(f'pipelines: [{{flow: {unique}critical, deployment: ""}}]')
    findings = await check(settings_with(pipelines=str(file), ledger_url=f"sqlite:///{tmp_path}/other.db"))
    advice = [finding.text for finding in findings if finding.advice]
    assert [f"{unique}critical: 0.99 of 1 runs in 30d allows 0.01 failures" in text for text in advice] == [True]

    file.write_text("pipelines: [{}]")
    faults = [finding.text for finding in await check(settings_with(pipelines=str(file))) if not finding.ok]
    assert [f"pipelines: {file}:1: pipelines[0].flow: Field required" in text for text in faults] == [True]


async def test_failures_of_several_pipelines_for_one_cause_are_a_storm(
    seeder: Seeder, unique: str, exporter: Rig
) -> None:
    refused = {f"{unique}etl-{number}" for number in range(5)}
    deployments = {flow: seeder.deployment(seeder.flow(flow), "prod") for flow in (*refused, f"{unique}other")}
    await exporter.inventory()
    await exporter.poll()

    before = time.time()
    for flow, deployment in deployments.items():
        message = "connection refused" if flow in refused else "KeyError: 'orders'"
        seeder.failed(seeder.run(seeder.flow(flow), deployment_id=deployment), message)
    await exporter.poll()
    storm = matching(exporter.samples, "prefect_flow_run_storm_timestamp_seconds")
    in_storm = {(dict(labels)["flow"], dict(labels)["cause"]) for labels in storm}
    assert in_storm == {(flow, "connection") for flow in refused}
    assert all(before < at <= time.time() for at in storm.values())
