"""Hundreds of task runs at once: the server's recorder lags, and everything is still counted once."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from prefect_monitoring.ingest.log_lines import SEARCHED, UNSEARCHED
from prefect_monitoring.model.records import DELETED
from support.exposition import Samples, total, value
from support.prefect_server import start_server
from support.rig import rig
from support.running_flows import run_flows
from support.seeder import Seeder
from support.truth_of_tasks import task_runs

BURST = Path(__file__).with_name("burst_flow.py")
TASKS = int(os.environ.get("BURST_TASKS", "600"))
PATIENCE_SECONDS = 900
NAMED_WITHIN_SECONDS = min(SEARCHED.patience, UNSEARCHED.patience)


def counted(samples: Samples) -> tuple[float, float]:
    """The number of completed task runs and of their METRIC lines, under any task name."""
    lines = total(samples, "prefect_custom_metric_observed_count", flow="burst", metric="rows")
    return total(samples, "prefect_task_run_outcomes_total", task="load", state="completed"), lines


@pytest.mark.timeout(PATIENCE_SECONDS + 300)
async def test_burst_of_task_runs_is_counted_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with start_server(tmp_path) as server, Seeder(server.url) as seeder:
        async with rig(server.url, tmp_path) as exporter:
            await exporter.inventory()
            begun = time.monotonic()
            running = asyncio.create_task(asyncio.to_thread(run_flows, server, BURST, str(TASKS), tmp_path))
            seen = (0.0, 0.0)
            while counted(exporter.samples) != (TASKS, TASKS) and time.monotonic() < begun + PATIENCE_SECONDS:
                await exporter.details()
                now = counted(exporter.samples)
                assert all(new >= old for new, old in zip(now, seen, strict=True)), "counters never go back"
                assert max(now) <= TASKS, "counted twice"
                seen = now
                await asyncio.sleep(1)
            took = time.monotonic() - begun
            await running
            assert "another shape" not in caplog.text, "runs without their states yet are valid"
            assert sum(map(len, task_runs(seeder, "burst").values())) == TASKS
            assert counted(exporter.samples) == (TASKS, TASKS)
            assert total(exporter.samples, "prefect_custom_metric_observed_sum", metric="rows") == 3 * TASKS
            unnamed = total(exporter.samples, "prefect_custom_metric_observed_count", task=DELETED, metric="rows")
            print(f"{TASKS} task runs recorded within {took:.0f} s; {unnamed:.0f} lines counted before that")  # noqa: T201
            assert not unnamed or took > NAMED_WITHIN_SECONDS, "lines wait for the name of their task"
            exporter.clock = lambda: time.time() + 600  # so that all task runs lie in closed hours
            await exporter.details(2)
            await exporter.inventory()
            assert counted(exporter.samples) == (TASKS, TASKS)
            assert value(exporter.samples, "prefect_exporter_audit_missing", kind="task_runs") == 0
            await exporter.restart()
            await exporter.details(2)
            assert counted(exporter.samples) == (TASKS, TASKS)
