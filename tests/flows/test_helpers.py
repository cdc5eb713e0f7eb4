"""The helpers for flows on a real server: METRIC lines, objectives and Slack messages in every kind of run."""

import gzip
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from prefect_monitoring.flows.slack import MAX_SECONDS
from support.exposition import total
from support.prefect_server import PrefectServer, env_for
from support.processes import start, wait_until
from support.proxy import FaultProxy
from support.rig import rig
from support.running_flows import SERVED_FLOW, run_helpers
from support.seeder import Seeder

SECRET = "T0/B0/webhook-secret"


@pytest.fixture
def slack() -> Iterator[FaultProxy]:
    """A stand-in for hooks.slack.com; it accepts every message unless a test adds a fault."""
    with FaultProxy(f"http://127.0.0.1:1/services/{SECRET}") as running:
        running.status(200, body="ok", path="")  # the webhook itself
        yield running


def messages(slack: FaultProxy) -> list[dict[str, Any]]:
    return [seen.json for seen in slack.requests]


def logged(seeder: Seeder, flow: str, text: str) -> list[str]:
    """Log lines of all runs of `flow` that contain `text`."""
    runs = seeder.call("POST", "/flow_runs/filter", {"flows": {"name": {"any_": [flow]}}})
    criteria = {"flow_run_id": {"any_": [run["id"] for run in runs]}}
    lines = seeder.call("POST", "/logs/filter", {"logs": criteria, "sort": "TIMESTAMP_ASC"})
    return [line["message"] for line in lines if text in line["message"]]


async def test_emit_metric_reaches_the_exporter_from_every_kind_of_run(
    server: PrefectServer, seeder: Seeder, unique: str, tmp_path: Path
) -> None:
    run_helpers(server, tmp_path, part="metrics", prefix=unique)
    expected = {
        (f"{unique}sync", ""): 1,
        (f"{unique}sync", "in_task"): 2 + 4 + 8 + 16,
        (f"{unique}child", ""): 11,
        (f"{unique}async", ""): 3,
        (f"{unique}async", "in_async_task"): 14,
        (f"{unique}async-child", ""): 13,
    }
    wait_until(lambda: len(logged(seeder, f"{unique}async-child", "METRIC")) == 1, 60, "the last line")
    async with rig(server.url, tmp_path) as exporter:
        await exporter.inventory()
        await exporter.details(3)
        await exporter.restart()
        await exporter.details(2)
        sums = {
            (flow, task): total(
                exporter.samples, "prefect_custom_metric_observed_sum", flow=flow, task=task, metric="rows_loaded"
            )
            for flow, task in expected
        }
        assert sums == expected
        labelled = {"flow": f"{unique}sync", "metric": "rows_loaded", "table": 'or"ders'}
        assert total(exporter.samples, "prefect_custom_metric_observed_count", **labelled) == 4


async def test_slo_violations_are_metric_line_event_and_message(
    server: PrefectServer, seeder: Seeder, slack: FaultProxy, unique: str, tmp_path: Path
) -> None:
    seen = run_helpers(server, tmp_path, part="objectives", prefix=unique, webhook=slack.url, block=f"{unique}alerts")
    assert seen["answer"] == "kept"
    assert [message["text"] for message in messages(slack)] == [
        "*with_objective* missed its objective: touched 13 rows, at most 10 are allowed"
    ]
    for flow in (f"{unique}slo", f"{unique}slo-async"):
        wait_until(lambda flow=flow: logged(seeder, flow, "METRIC"), 60, "the METRIC line")
        assert logged(seeder, flow, "METRIC") == ['METRIC: slo_violations{objective="max_rows"}=1']

    def events() -> list[dict[str, Any]]:
        criteria = {"event": {"name": ["prefect-monitoring.slo.violated"]}}
        answer = seeder.call("POST", "/events/filter", {"filter": criteria})
        return [event["payload"] for event in answer["events"]]

    wait_until(lambda: len(events()) == 3, 60, "the events")
    assert {(event["name"], event["actual"]) for event in events()} == {
        ("with_objective", 13.0),
        ("async_with_objective", 2.0),
        ("task_with_objective", 2.0),
    }


def test_slack_hooks_send_state_duration_and_link(
    server: PrefectServer, slack: FaultProxy, unique: str, tmp_path: Path
) -> None:
    seen = run_helpers(server, tmp_path, part="slack", prefix=unique, webhook=slack.url, block=f"{unique}alerts")
    assert seen["states"] == ["Failed", "Failed"]
    assert (seen["answer"], seen["was_sent"]) == (42, True)
    task, flow, async_flow, note, success = messages(slack)
    assert [message["text"].split(":")[0] for message in (task, flow, async_flow, note, success)] == [
        "hopeless failed",
        f"{unique}fails failed",
        f"{unique}async-fails failed",
        "*late* today",
        f"{unique}completes completed",
    ]
    header, fields, error, buttons = flow["blocks"]
    assert header["text"]["text"] == f":red_circle: {unique}fails failed"
    assert "hunter2" not in json.dumps(messages(slack))
    assert "<!channel>" not in json.dumps(messages(slack))
    assert "&lt;!channel&gt; no rows in postgresql://***@db/dwh" in error["text"]["text"]
    duration = next(field["text"] for field in fields["fields"] if "Duration" in field["text"])
    assert duration.endswith(" s"), "a started run has a duration"
    root = server.url.removesuffix("/api")
    assert buttons["elements"][0]["url"].startswith(f"{root}/runs/flow-run/")
    assert task["blocks"][3]["elements"][1]["url"].startswith(f"{root}/runs/task-run/")
    assert [block["type"] for block in success["blocks"]] == ["header", "section", "actions"]


@pytest.mark.parametrize("fault", ["status 500", "status 429", "hang", "drop", "refused"])
def test_failing_slack_neither_fails_nor_delays_a_run(
    server: PrefectServer, seeder: Seeder, slack: FaultProxy, unique: str, tmp_path: Path, fault: str
) -> None:
    match fault.split():
        case ["status", code]:
            slack.status(int(code), body=f"no_service {slack.url}", headers={"retry-after": "30"}, path="")
        case ["hang"]:
            slack.hang(path="")
        case ["drop"]:
            slack.drop(path="")
        case _:
            slack.refuse()
    seen = run_helpers(server, tmp_path, part="slack", prefix=unique, webhook=slack.url, block=f"{unique}alerts")
    assert seen["states"] == ["Failed", "Failed"]
    assert (seen["answer"], seen["was_sent"]) == (42, False)
    # slack_sdk's default would wait for 30 s, twice; ours is 5 s, and a busy machine may take twice as long.
    assert max(seen["seconds"]) < 2 * MAX_SECONDS + 5
    wait_until(lambda: logged(seeder, f"{unique}fails", "was not sent"), 60, "the warning in the run's log")
    warnings = logged(seeder, f"{unique}fails", "was not sent")
    assert not any(SECRET in warning for warning in warnings), "Slack's answer repeated it"


def test_hooks_of_a_killed_run_are_called_where_the_killed_run_was_served(
    server: PrefectServer, seeder: Seeder, slack: FaultProxy, unique: str, tmp_path: Path
) -> None:
    flow = f"{unique}dies"
    run_helpers(server, tmp_path, part="webhook", prefix=unique, webhook=slack.url, block=f"{unique}alerts")
    archive = tmp_path / "archive"
    settings = {"SERVED_FLOW": flow, "SERVED_BLOCK": f"{unique}alerts", "SERVED_ARCHIVE": archive.as_uri()}
    env = env_for(server) | settings | {"PREFECT_RUNNER_POLL_FREQUENCY": "1"}
    script = shutil.copy(SERVED_FLOW, tmp_path)  # Prefect 3.4 serves only flows in or below the working directory
    serving = start([sys.executable, script], tmp_path / "serving.log", env=env, cwd=tmp_path)
    try:

        def deployments() -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = seeder.call(
                "POST", "/deployments/filter", {"flows": {"name": {"any_": [flow]}}}
            )
            return found

        deployment = wait_until(deployments, 90, "the served deployment")[0]["id"]
        seeder.call("POST", f"/deployments/{deployment}/create_flow_run", {"state": {"type": "SCHEDULED"}})
        wait_until(lambda: list(archive.glob("flow-runs/*.json.gz")), 120, "the run's document")
    except TimeoutError:
        pytest.fail(serving.output())
    finally:
        serving.stop()
    assert [message["text"].split(":")[0] for message in messages(slack)] == [f"{flow} crashed"]
    (path,) = archive.glob("flow-runs/*.json.gz")
    assert json.loads(gzip.decompress(path.read_bytes()))["flow_run"]["state"]["type"] == "CRASHED"
