"""Metrics of task runs and METRIC lines equal the history of real flows and of a seeded server."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from prefect_monitoring.ingest import task_runs as task_reader
from prefect_monitoring.model.changes import Changes
from support.bulk import bulk_finished_runs, bulk_logs, bulk_task_runs
from support.exposition import Samples, matching, total, value
from support.prefect_server import PrefectServer
from support.processes import wait_until
from support.rig import rig
from support.running_flows import run_real_flows
from support.seeder import Seeder
from support.truth_of_tasks import TaskOutcome, task_runs, task_truth
from support.versions import COUNTS_TASK_RUNS_BY_END

# Older servers cannot count task runs by their end, so the audit does not find those recorded an hour late.
AUDITED = 0 if COUNTS_TASK_RUNS_BY_END else None
FOUND_BY_AUDIT = 7 if COUNTS_TASK_RUNS_BY_END else 0
OUTCOMES = "prefect_task_run_outcomes_total"
RETRIES = "prefect_task_run_retries_total"
SECONDS = "prefect_task_run_seconds_total"
FAILURES = "prefect_task_run_failures_total"
OBSERVED = "prefect_custom_metric_observed"
REJECTED = "prefect_exporter_metric_lines_rejected_total"
# Custom run names: real_flows.py names them after the table.
TASK_OF_RUN_NAME = {f"load-{table}-of-tr": "load_table" for table in ("orders", "customers", "a", "b")}

EXTRACTED = {"METRIC: rows_extracted=1234": 1, "METRIC: rows_extracted=5": 1, "METRIC: rows_extracted=1": 2}


def task_outcomes(samples: Samples, prefix: str) -> Counter[TaskOutcome]:
    outcomes: Counter[TaskOutcome] = Counter()
    for labels, number in matching(samples, OUTCOMES).items():
        named = dict(labels)
        if named["flow"].startswith(prefix):
            outcomes[named["flow"], named["task"], named["state"]] += int(number)
    return +outcomes


@pytest.fixture
def finished_run(server: PrefectServer, seeder: Seeder, unique: str) -> tuple[str, str]:
    """The name of a flow, and the id of a run that started 100 s ago and ended 40 s ago."""
    flow = seeder.flow(f"{unique}etl")
    end = datetime.now(UTC) - timedelta(seconds=40)
    (run,) = bulk_finished_runs(server, flow, [end], duration=timedelta(seconds=60))
    return f"{unique}etl", run


@pytest.fixture(scope="module")
def real(server: PrefectServer, seeder: Seeder, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The prefix of flows that ran without an exporter, and whose task runs and lines have all arrived."""
    prefix = "tr-"
    run_real_flows(server, prefix, tmp_path_factory.mktemp("real"))

    def arrived() -> bool:
        made = [run for runs in task_runs(seeder, prefix).values() for run in runs]
        of_them = {
            "logs": {"flow_run_id": {"any_": sorted({run["flow_run_id"] for run in made if run["flow_run_id"]})}}
        }
        messages = Counter(line["message"] for line in seeder.call("POST", "/logs/filter", of_them))
        extracted = {message: number for message, number in messages.items() if "rows_extracted" in message}
        return len(made) == 19 and extracted == EXTRACTED

    wait_until(arrived, 60, "all task runs and lines")
    return prefix


async def test_outcomes_of_real_flows_match_their_task_runs(
    server: PrefectServer, seeder: Seeder, real: str, tmp_path: Path
) -> None:
    async with rig(server.url, tmp_path) as exporter:
        await exporter.inventory()
        await exporter.details(3)
        await exporter.restart()
        await exporter.details(2)
        await exporter.inventory()
        samples = exporter.samples
        pipeline = f"{real}pipeline"
        assert task_outcomes(samples, real) == task_truth(seeder, real, TASK_OF_RUN_NAME)
        assert task_outcomes(samples, real) == {
            (pipeline, "extract", "completed"): 1,
            (pipeline, "flaky", "completed"): 1,
            (pipeline, "hopeless", "failed"): 1,
            (pipeline, "cached", "completed"): 1,
            (pipeline, "cached", "cached"): 1,
            (pipeline, "load_table", "completed"): 4,
            (pipeline, "Check rows", "completed"): 3,
            (pipeline, "reworked", "completed"): 2,
            (f"{real}child", "extract", "completed"): 1,
            (f"{real}rollback", "stage", "completed"): 1,
            (f"{real}rollback", "stage", "rolled_back"): 1,
            (f"{real}rollback", "publish", "failed"): 1,
            (f"{real}again", "extract", "completed"): 2,
        }, "mapped, cached, edited, rolled back and renamed; no subflow placeholder"
        assert value(samples, OUTCOMES, flow="", task=f"{real}alone", state="completed") is None, (
            "tasks are named by their key"
        )
        assert total(samples, OUTCOMES, flow="", task="alone", state="completed") == 1
        assert total(samples, RETRIES, flow=pipeline) == 3
        assert value(samples, RETRIES, flow=pipeline, deployment="", task="flaky") == 2
        failures = {
            tuple(dict(key)[name] for name in ("flow", "task", "cause")): number
            for key, number in matching(samples, FAILURES).items()
        }
        assert {key: number for key, number in failures.items() if key[0].startswith(real)} == {
            (pipeline, "flaky", "timeout"): 2,
            (pipeline, "hopeless", "connection"): 2,
            (f"{real}rollback", "publish", "data"): 1,
        }, "failed attempts before a successful retry count as well"
        spent = sum(run["total_run_time"] for run in task_runs(seeder, real)[pipeline])
        assert total(samples, SECONDS, flow=pipeline) == pytest.approx(spent)
        shares = matching(samples, "prefect_task_run_time_share_ratio", flow=pipeline)
        assert all(0 < share < 1 for share in shares.values())
        assert len(shares) == 7
        assert value(samples, "prefect_exporter_audit_missing", kind="task_runs") == AUDITED


async def test_metric_lines_of_real_flows(server: PrefectServer, real: str, tmp_path: Path) -> None:
    async with rig(server.url, tmp_path) as exporter:
        await exporter.inventory()
        await exporter.details(3)
        await exporter.restart()
        await exporter.details(2)
        samples = exporter.samples
        pipeline = {"flow": f"{real}pipeline", "deployment": ""}
        sums = {
            ("rows_extracted", "extract", ""): 1234,
            ("rows_loaded", "load_table", "orders"): 1000,
            ("rows_loaded", "load_table", "customers"): 250,
            ("rows_loaded", "load_table", "a"): 250,
            ("rows_loaded", "load_table", "b"): 250,
            ("total", "", ""): 7,
            ("fine", "", ""): -2,
        }
        for (metric, task, table), expected in sums.items():
            labels = {**pipeline, "metric": metric, "task": task, "table": table}
            assert value(samples, f"{OBSERVED}_sum", **labels) == expected
            assert value(samples, f"{OBSERVED}_count", **labels) == 1
            assert value(samples, "prefect_custom_metric_value", **labels) == expected
        again = {"flow": f"{real}again", "deployment": "", "metric": "rows_extracted", "task": "extract", "table": ""}
        assert value(samples, f"{OBSERVED}_count", **again) == 2, "one for each attempt of the flow"
        assert total(samples, f"{OBSERVED}_sum", flow="", metric="alone", task="alone") == 1
        assert value(samples, REJECTED, reason="malformed") >= 3
        assert value(samples, REJECTED, reason="name") >= 1
        assert value(samples, REJECTED, reason="non_finite") >= 1


async def test_seeded_task_runs_are_counted(
    server: PrefectServer, seeder: Seeder, unique: str, finished_run: tuple[str, str], tmp_path: Path
) -> None:
    """Old and new task runs on several pages, some of them with equal end times."""
    flow, run = finished_run
    now = datetime.now(UTC)
    ends = [now - timedelta(days=2, seconds=number // 3) for number in range(450)]
    bulk_task_runs(server, "extract", [(run, end) for end in ends])
    bulk_task_runs(server, "load", [(run, now - timedelta(seconds=41))], state="Failed", message="deadlock detected")
    bulk_task_runs(server, "load", [(run, now - timedelta(seconds=45))], attempts=3, duration=timedelta(seconds=30))
    options = {"birth_hold": "1h", "metrics_on": "prefect_task_run_duration_seconds"}
    async with rig(server.url, tmp_path, include_flows=f"{unique}.*", **options) as exporter:
        await exporter.inventory()
        await exporter.details(2)
        samples = exporter.samples
        assert task_outcomes(samples, unique) == task_truth(seeder, unique, {})
        assert task_outcomes(samples, unique)[flow, "extract", "completed"] == 450
        assert value(samples, RETRIES, flow=flow, deployment="", task="load") == 2
        assert value(samples, FAILURES, flow=flow, deployment="", task="load", cause="db_lock") == 1
        assert value(samples, SECONDS, flow=flow, deployment="", task="load") == pytest.approx(31)
        share = value(samples, "prefect_task_run_time_share_ratio", flow=flow, deployment="", task="load")
        assert share == pytest.approx(31 / 60, abs=0.01), "30 s and a separate 1 s"
        assert value(samples, "prefect_task_run_duration_seconds_count", flow=flow, task="extract") == 450
        assert value(samples, "prefect_task_run_duration_seconds_sum", flow=flow, task="load") == pytest.approx(30)


async def test_tasks_beyond_the_cap_are_counted_together(
    server: PrefectServer, unique: str, finished_run: tuple[str, str], tmp_path: Path
) -> None:
    flow, run = finished_run
    now = datetime.now(UTC)
    async with rig(server.url, tmp_path, include_flows=f"{unique}.*", max_tasks=1) as exporter:
        await exporter.inventory()
        await exporter.details()
        for number in range(3):
            bulk_task_runs(server, f"step{number}", [(run, now - timedelta(seconds=number))])
            await exporter.details()
        samples = exporter.samples
        assert value(samples, OUTCOMES, flow=flow, deployment="", task="(other)", state="completed") == 2
        assert value(samples, "prefect_exporter_series_folded_total", metric=OUTCOMES) == 2


@pytest.mark.skipif(not COUNTS_TASK_RUNS_BY_END, reason="older servers cannot count task runs by their end")
async def test_audit_reports_task_runs_missing_from_the_ledger(
    server: PrefectServer,
    unique: str,
    finished_run: tuple[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Simulates a defect of the exporter: the audit finds task runs that the ledger lacks."""
    _, run = finished_run
    async with rig(server.url, tmp_path, include_flows=f"{unique}.*") as exporter:
        await exporter.inventory()
        await exporter.details()
        bulk_task_runs(server, "extract", [(run, datetime.now(UTC) - timedelta(hours=1))] * 3)
        with monkeypatch.context() as broken:
            broken.setattr(task_reader, "fold_tasks", lambda *_: Changes())
            await exporter.inventory()
        assert value(exporter.samples, "prefect_exporter_audit_missing", kind="task_runs") == 3
        assert value(exporter.samples, "prefect_exporter_source_up", source="audit_task_runs") == 1
        exporter.clock = lambda: datetime.now(UTC).timestamp() + 3601  # everything, once an hour
        await exporter.inventory()
        assert value(exporter.samples, "prefect_exporter_audit_missing", kind="task_runs") == AUDITED


async def test_task_runs_recorded_late_are_counted_once(
    server: PrefectServer, seeder: Seeder, unique: str, finished_run: tuple[str, str], tmp_path: Path
) -> None:
    """A minute late: found by count. An hour late: found by the audit. Each is counted once, as an increase."""
    flow, run = finished_run
    now = datetime.now(UTC)
    async with rig(server.url, tmp_path, include_flows=f"{unique}.*") as exporter:
        await exporter.inventory()
        bulk_task_runs(server, "extract", [(run, now)])
        await exporter.details(2)
        assert task_outcomes(exporter.samples, unique) == {(flow, "extract", "completed"): 1}
        bulk_task_runs(server, "extract", [(run, now - timedelta(seconds=second)) for second in range(30, 90)])
        await exporter.details(2)
        assert task_outcomes(exporter.samples, unique) == {(flow, "extract", "completed"): 61}
        bulk_task_runs(server, "extract", [(run, now - timedelta(hours=1, seconds=second)) for second in range(7)])
        await exporter.details(2)
        assert task_outcomes(exporter.samples, unique) == {(flow, "extract", "completed"): 61}
        await exporter.inventory()
        assert task_outcomes(exporter.samples, unique) == {(flow, "extract", "completed"): 61 + FOUND_BY_AUDIT}
        assert value(exporter.samples, "prefect_exporter_audit_missing", kind="task_runs") == AUDITED
        requests = exporter.traffic.requests.copy()
        await exporter.details(3)
        more = exporter.traffic.requests - requests
        # Where ends cannot be counted, each poll lists what started recently: at most all task runs of the server,
        # those of other tests too.
        listed = 0 if COUNTS_TASK_RUNS_BY_END else int(seeder.call("POST", "/task_runs/count", {}))
        assert more["/task_runs/filter", "200"] <= 3 * (2 + listed // 200), "known task runs are not read repeatedly"


async def test_late_batches_of_lines_count_once(
    server: PrefectServer, unique: str, finished_run: tuple[str, str], tmp_path: Path
) -> None:
    flow, run = finished_run
    now = datetime.now(UTC)
    line = "METRIC: rows=10"

    def counted() -> float | None:
        return value(exporter.samples, f"{OBSERVED}_count", flow=flow, deployment="", task="", metric="rows")

    async with rig(server.url, tmp_path, include_flows=f"{unique}.*") as exporter:
        await exporter.inventory()
        bulk_logs(server, [(now, line)] * 250, flow_run_id=run)
        await exporter.details(2)
        assert counted() == 250, "more than a page at one instant"
        bulk_logs(server, [(now - timedelta(seconds=second), line) for second in range(1, 11)], flow_run_id=run)
        await exporter.details(3)
        assert counted() == 260, "some seconds late"
        bulk_logs(server, [(now - timedelta(seconds=150), "METRIC: rows=1")], flow_run_id=run)
        exporter.clock = lambda: datetime.now(UTC).timestamp() + 61  # once a minute, an older window is read
        await exporter.details(2)
        assert counted() == 261, "minutes late"
        last = value(exporter.samples, "prefect_custom_metric_value", flow=flow, deployment="", task="", metric="rows")
        assert last == 10, "the last by its timestamp, not by its arrival"


async def test_metric_line_waits_for_its_task_run(
    server: PrefectServer, seeder: Seeder, unique: str, finished_run: tuple[str, str], tmp_path: Path
) -> None:
    """Lines arrive within seconds, a task run up to a minute late when many end at once."""
    flow, run = finished_run
    now = datetime.now(UTC)
    async with rig(server.url, tmp_path, include_flows=f"{unique}.*") as exporter:
        await exporter.inventory()
        await exporter.details()
        task_run = str(uuid4())
        bulk_logs(server, [(now, "METRIC: rows=5")], flow_run_id=run, task_run_id=task_run)
        bulk_logs(server, [(now, "METRIC: runs=1")], flow_run_id=run)
        await exporter.details(2)
        assert total(exporter.samples, f"{OBSERVED}_count", flow=flow, metric="runs") == 1, "other lines do not wait"
        assert not matching(exporter.samples, f"{OBSERVED}_count", flow=flow, metric="rows")
        seeder.task_run(run, "load", task_run_id=task_run)
        await exporter.details(2)
        assert total(exporter.samples, f"{OBSERVED}_sum", flow=flow, task="load", metric="rows") == 5

        bulk_logs(server, [(now, "METRIC: rows=9")], flow_run_id=run, task_run_id=str(uuid4()))
        await exporter.details(2)
        assert total(exporter.samples, f"{OBSERVED}_sum", flow=flow, metric="rows") == 5
        exporter.clock = lambda: datetime.now(UTC).timestamp() + 700
        await exporter.details(2)
        assert total(exporter.samples, f"{OBSERVED}_sum", flow=flow, task="(deleted)", metric="rows") == 9, "expired"


async def test_active_task_runs_are_those_of_live_attempts(
    server: PrefectServer, seeder: Seeder, unique: str, tmp_path: Path
) -> None:
    """Counts only the current attempt of active flow runs, because a dead task run stays Running forever."""
    flow = seeder.flow(f"{unique}etl")
    alive, crashed = seeder.run(flow), seeder.run(flow)
    for run in (alive, crashed):
        seeder.running(run)
        seeder.task_run(run, "load", state="Running")
    seeder.task_run(alive, "load", state="Pending")
    seeder.crashed(crashed)
    under_way = {"flow": f"{unique}etl", "deployment": "", "task": "load"}
    async with rig(server.url, tmp_path, include_flows=f"{unique}.*") as exporter:
        await exporter.inventory()
        await exporter.details()
        assert value(exporter.samples, "prefect_task_runs", **under_way, state="running") == 1
        assert value(exporter.samples, "prefect_task_runs", **under_way, state="pending") == 1
        seeder.retry_from_ui(crashed, force=True)
        seeder.running(crashed)
        seeder.task_run(crashed, "load", state="Running")
        await exporter.details()
        assert value(exporter.samples, "prefect_task_runs", **under_way, state="running") == 2, "without the dead one"
        assert total(exporter.samples, OUTCOMES, flow=f"{unique}etl") == 0
