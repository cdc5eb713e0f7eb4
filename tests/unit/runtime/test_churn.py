"""Deleted flows, deployments and runs eventually leave nothing behind, neither in memory nor in the ledger."""

from __future__ import annotations

import sqlalchemy as sa

from prefect_monitoring.ledger import schema
from prefect_monitoring.ledger.ledger import Ledger
from support.options import settings_with
from unit.fake_prefect import FakePrefect
from unit.poller_process import Process
from unit.rig import DAY, MakeReaders

SHORT_LIVED = 300


def rows(ledger: Ledger) -> dict[str, int]:
    with ledger.transaction() as connection:
        return {
            name.removeprefix(schema.PREFIX): connection.scalar(sa.select(sa.func.count()).select_from(table)) or 0
            for name, table in schema.tables.tables.items()
        }


def entries_in_memory(process: Process) -> dict[str, int]:
    """How many entries by name, id or series are kept in memory."""
    ledger, reader = process.ledger, process.readers.flow_runs
    sizes = {
        "names": len(ledger.names.flows) + len(ledger.names.deployments) + len(ledger.names.gone),
        "series": len(ledger.series) + len(ledger.values) + len(ledger.in_birth_hold),
        "pipelines": len(ledger.pipeline_ids) + len(ledger.pipelines_by_id) + len(ledger.touched),
        "schedules": len(ledger.schedules),
        "catalog": len(reader.catalog._admitted) + len(reader.catalog._tasks) + len(reader.catalog._custom),
        "run_stats": len(process.published[-1].run_stats),
        "in_birth_hold": len(process.poller._hold.shown_since),
    }
    return sizes | {"policies": len(process.published[-1].policies)}


async def one_run(fake: FakePrefect, process: Process, flow: str, deployment: str) -> None:
    run = fake.schedule(flow, deployment)
    fake.start(run)
    fake.finish(run, 1)
    await process.poll()
    await process.inventory()


async def test_created_and_deleted_flows_leave_nothing_behind(fake: FakePrefect, make_readers: MakeReaders) -> None:
    process = Process(fake, make_readers(), settings_with(birth_hold="0s", max_pairs="10000"))
    flow = fake.add_flow("stays")
    lasting = flow, fake.add_deployment("daily", flow)
    await one_run(fake, process, *lasting)
    await process.poll()
    before, before_rows = entries_in_memory(process), rows(process.ledger)
    for number in range(SHORT_LIVED):
        flow = fake.add_flow(f"{number}")
        deployment = fake.add_deployment("once", flow)
        run = fake.schedule(flow, deployment)
        fake.start(run)
        fake.finish(run, 1, "FAILED" if number % 2 else "COMPLETED", "boom")
    await process.poll()
    await process.inventory()
    assert entries_in_memory(process)["names"] == before["names"] + 2 * SHORT_LIVED
    for flow in [one for one in fake.flow_names if one != lasting[0]]:
        fake.delete_flow(flow)
    # After the retention of series and runs, and the 400 days of daily rollups.
    for days in (1, 8, 8, 31, 63, 401, 1):
        fake.now += days * DAY
        await one_run(fake, process, *lasting)
    await process.poll()
    assert entries_in_memory(process) == before
    after = rows(process.ledger)
    grown = {name for name, count in after.items() if count > before_rows[name] + 5}
    assert not grown, {name: (before_rows[name], after[name]) for name in grown}
