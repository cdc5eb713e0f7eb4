"""The documented SQL, run by DuckDB: the success rate matches the ledger and the tables match the docs."""

from __future__ import annotations

import random
from dataclasses import asdict

import duckdb
import pytest

from prefect_monitoring.archive.schema import TABLES
from prefect_monitoring.ledger.ledger import Ledger
from prefect_monitoring.model.records import Pipeline
from scripts.archive_page import SUCCESS, archive_schema_page, kind_of
from unit.archive.fake_runs import NOON, FakeRuns, at
from unit.archive.site import Site
from unit.fake_prefect import FakePrefect, ServerRun
from unit.rig import MakeReader

pytestmark = pytest.mark.slow

DAY = 86400.0
PLACES = 3


def row_of(run: ServerRun) -> dict[str, object]:
    """A run of the exporter's model server in the form of the archive's model server."""
    state = {**asdict(run.state), "timestamp": at(run.state.at)}
    row = {"id": run.id, "name": run.name, "flow_id": run.flow_id, "deployment_id": run.deployment_id}
    row |= {"end_time": at(run.end or 0.0), "run_count": run.run_count, "state": state}
    return row | {"state_id": run.state.id, "state_type": run.state.type, "state_name": run.state.name}


@pytest.mark.parametrize("seed", range(3))
async def test_success_rate_over_30_days_matches_the_ledger(
    archived: Site, fake_runs: FakeRuns, fake: FakePrefect, ledger: Ledger, make_reader: MakeReader, seed: int
) -> None:
    chance = random.Random(seed)
    reader = make_reader(lookback="40d")
    flows = [fake.add_flow(f"flow-{number}") for number in range(PLACES)]
    deployments = [fake.add_deployment("daily", flows[0]), fake.add_deployment("daily", flows[1]), None]
    fake.now -= 32 * DAY
    begun = fake.now
    for _ in range(100):
        place = chance.randrange(PLACES)
        run = fake.schedule(flows[place], deployments[place])
        fake.start(run)
        fake.finish(run, 10, chance.choice(["COMPLETED", "COMPLETED", "FAILED", "CRASHED", "CANCELLED"]))
        if chance.random() < 0.3 and fake.retry(run):
            fake.start(run, after=60)
            fake.finish(run, 10, chance.choice(["COMPLETED", "FAILED"]))
        fake.now += chance.choice([600.0, 3600.0, DAY / 2, DAY / 2])
        if chance.random() < 0.2:
            await archive_all(archived, fake_runs, fake, begun)
    await archive_all(archived, fake_runs, fake, begun)
    fake.now = begun + 33 * DAY + 1234
    await reader.read_finished(60)

    now = f"TIMESTAMPTZ '{at(fake.now)}'"
    rates = archived.view(SUCCESS.replace("current_timestamp", now), "SET TimeZone = 'UTC'")
    pipelines = {
        Pipeline(fake.flow_names[flow].name, "daily" if deployment else "")
        for flow, deployment in zip(flows, deployments, strict=True)
    }
    windows = {pipeline: stats.window_runs for pipeline, stats in ledger.run_stats(sorted(pipelines), fake.now).items()}
    expected = {
        (*pipeline, window["30d", "good"] + window["30d", "bad"], window["30d", "good"])
        for pipeline, window in windows.items()
        if window["30d", "good"] + window["30d", "bad"]
    }
    assert {(flow, name, runs, round(ratio * runs)) for flow, name, runs, ratio in rates} == expected
    assert len(archived.read("runs")) > sum(runs for _, _, runs, _ in rates), "some are older, or have a newer version"


async def archive_all(archived: Site, fake_runs: FakeRuns, fake: FakePrefect, begun: float) -> None:
    fake_runs.names |= {flow.id: flow.name for flow in fake.flow_names.values()}
    fake_runs.names |= {deployment.id: deployment.name for deployment in fake.deployment_names.values()}
    fake_runs.runs = {run.id: row_of(run) for run in fake.runs.values() if run.over}
    fake_runs.states = {run: [] for run in fake_runs.runs}
    await archived.archive(begun, fake.now, archive_documents=False)


async def test_documented_columns_match_the_files(archived: Site, fake_runs: FakeRuns) -> None:
    run_id = fake_runs.add(1, NOON)
    fake_runs.add_task(run_id, "load", NOON)
    fake_runs.log(run_id, NOON, "line")
    await archived.archive(NOON, NOON)
    kinds = {"VARCHAR": "string", "BIGINT": "bigint", "INTEGER": "int", "DOUBLE": "double", "BOOLEAN": "boolean"}
    for table, columns in TABLES.items():
        files = f"'{archived.folder}/{table}/dt=*/*.parquet'"
        described = duckdb.sql(f"describe select * exclude dt from {files}").fetchall()
        types = {name: kind for name, kind, *_ in described}
        assert list(types) == [column.name for column in columns]
        assert {name: kinds[kind] for name, kind in types.items() if kind in kinds} == {
            column.name: kind_of(column.type) for column in columns if types[column.name] in kinds
        }
        assert {kind for kind in types.values() if kind not in kinds} <= {
            "TIMESTAMP WITH TIME ZONE",
            "VARCHAR[]",
            'STRUCT(id VARCHAR, "type" VARCHAR, "name" VARCHAR, "timestamp" TIMESTAMP WITH TIME ZONE, '
            "message VARCHAR)[]",
        }


def test_docs_register_every_table_in_every_engine() -> None:
    page = archive_schema_page()
    for table in TABLES:
        assert f"CREATE EXTERNAL TABLE {table} (" in page
        assert f"CREATE TABLE {table} (" in page
        assert f"CREATE TEMPORARY VIEW {table} USING parquet" in page
        assert f"CREATE VIEW {table} AS" in page
