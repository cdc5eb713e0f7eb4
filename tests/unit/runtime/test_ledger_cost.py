"""The ledger work of a poll depends on what changed, not on the size of the ledger."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.options import settings_with
from support.statements import Statements, counted
from unit.fake_prefect import FakePrefect
from unit.poller_process import Process
from unit.rig import OpenLedger, readers_of

CHANGED = 10


async def started(open_it: OpenLedger, folder: Path, pipelines: int) -> tuple[Process, list[tuple[str, str]]]:
    """A process that has read the runs of `pipelines` pipelines."""
    fake = FakePrefect()
    settings = settings_with(birth_hold="0s", max_pairs=100_000)
    places = []
    for number in range(pipelines):
        flow = fake.add_flow(f"flow-{number:05}")
        places.append((flow, fake.add_deployment("daily", flow)))
        end_run(fake, *places[-1])
    ledger = open_it(url=f"sqlite:///{folder}/{pipelines}.db")
    process = Process(fake, readers_of(fake, ledger, settings), settings)
    for _ in range(3):  # ends birth holds; a newer end leaves the overlap that each poll reads again
        await process.poll(after=400.0)
        await process.inventory()
        end_run(fake, *places[0])
        await process.poll()
    return process, places


def end_run(fake: FakePrefect, flow: str, deployment: str, state_type: str = "COMPLETED") -> None:
    run = fake.schedule(flow, deployment)
    fake.start(run)
    fake.finish(run, 0.001, state_type, "boom")


async def changes(process: Process, places: list[tuple[str, str]]) -> Statements:
    """The cost of a poll after runs of ten pipelines, including a new and a deleted one."""
    with counted(process.ledger._database.engine) as statements:
        for place in places[:CHANGED]:
            end_run(process.fake, *place, "FAILED")
        new = process.fake.add_flow("a new flow")
        process.fake.add_deployment("daily", new)
        process.fake.delete_deployment(places[-1][1])
        await process.inventory()
        for _ in range(3):
            await process.poll()
    return statements


@pytest.mark.slow
async def test_statements_and_rows_of_a_poll_depend_on_changes(open_it: OpenLedger, tmp_path: Path) -> None:
    small, large = [await changes(*await started(open_it, tmp_path, pipelines)) for pipelines in (100, 2000)]
    assert (large.count, large.rows) == (small.count, small.rows), [
        (n, t[:90]) for t, n in (large.executed - small.executed).items()
    ]
    assert small.rows > CHANGED


async def test_poll_without_changes_writes_only_the_cursors(open_it: OpenLedger, tmp_path: Path) -> None:
    process, _ = await started(open_it, tmp_path, 100)
    with counted(process.ledger._database.engine) as statements:
        await process.poll()
    assert statements.rows == 1, statements.executed
