"""A Prefect server on PostgreSQL: it searches logs itself, and sorts runs without an end differently from SQLite."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from support.bulk import bulk_finished_runs, bulk_logs, bulk_task_runs
from support.exposition import matching, outcomes, total, value
from support.postgres import start_postgres
from support.prefect_server import PrefectServer, start_server
from support.processes import wait_until
from support.rig import rig
from support.running_flows import run_real_flows
from support.seeder import Seeder
from support.truth import truth
from support.truth_of_tasks import task_runs

OBSERVED = "prefect_custom_metric_observed"
LONG_ONES = 450


@pytest.fixture(scope="module")
def on_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    directory = tmp_path_factory.mktemp("postgres")
    with start_postgres(directory) as postgres, start_server(directory, database_url=postgres.url()) as server:
        yield server


@pytest.fixture
def pg_seeder(on_postgres: PrefectServer) -> Iterator[Seeder]:
    with Seeder(on_postgres.url) as seeder:
        yield seeder


async def test_server_searches_its_logs(
    on_postgres: PrefectServer, pg_seeder: Seeder, unique: str, tmp_path: Path
) -> None:
    flow = pg_seeder.flow(f"{unique}etl")
    now = datetime.now(UTC)
    (run,) = bulk_finished_runs(on_postgres, flow, [now - timedelta(seconds=10)])
    (task_run,) = bulk_task_runs(on_postgres, "load", [(run, now - timedelta(seconds=11))], attempts=2)
    chatter = [(now - timedelta(seconds=number / 10), f"row {number} of many") for number in range(LONG_ONES)]
    bulk_logs(on_postgres, chatter, flow_run_id=run, task_run_id=task_run)
    bulk_logs(on_postgres, [(now, "METRIC: rows=7"), (now, "metric: rows=9")], flow_run_id=run, task_run_id=task_run)
    failed = "Task run failed with exception: OperationalError('deadlock detected') - Retry 1/1 will start immediately"
    bulk_logs(on_postgres, [(now - timedelta(seconds=12), failed)], flow_run_id=run, task_run_id=task_run)
    async with rig(on_postgres.url, tmp_path, include_flows=f"{unique}.*") as exporter:
        await exporter.inventory()
        await exporter.details(2)
        samples = exporter.samples
        labels = {"flow": f"{unique}etl", "task": "load"}
        assert total(samples, f"{OBSERVED}_sum", **labels, metric="rows") == 7, (
            "the search ignores case, the metric does not"
        )
        assert total(samples, "prefect_task_run_failures_total", **labels, cause="db_lock") == 1
        asked = {key: number for key, number in exporter.traffic.requests.items() if key[0] == "/logs/filter"}
        assert set(asked) == {("/logs/filter", "200")}
        assert value(samples, "prefect_exporter_records_total", source="log_lines") < LONG_ONES, "others are not read"


async def test_real_flows(on_postgres: PrefectServer, pg_seeder: Seeder, unique: str, tmp_path: Path) -> None:
    async with rig(on_postgres.url, tmp_path, include_flows=f"({unique}.*)?") as exporter:
        await exporter.inventory()
        await exporter.details(2)
        await asyncio.to_thread(run_real_flows, on_postgres, unique, tmp_path)
        flow = pg_seeder.flow(f"{unique}by-hand")
        pg_seeder.crashed(pg_seeder.run(flow), started=False)
        pg_seeder.running(pg_seeder.run(flow))
        wait_until(lambda: sum(map(len, task_runs(pg_seeder, unique).values())) == 19, 60, "all task runs")
        await exporter.details(3)
        samples = exporter.samples
        assert outcomes(samples, flow_prefix=unique) == truth(on_postgres.url, flow_prefix=unique)
        outcome = "prefect_task_run_outcomes_total"
        by_flow = {name: total(samples, outcome, flow=f"{unique}{name}") for name in ("pipeline", "rollback", "again")}
        assert by_flow == {"pipeline": 14, "rollback": 3, "again": 2}
        assert total(samples, "prefect_task_run_retries_total", flow=f"{unique}pipeline") == 3
        assert matching(samples, "prefect_flow_runs", flow=f"{unique}by-hand")
