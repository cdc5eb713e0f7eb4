"""A process that archives a model server and may be killed at any moment."""

from __future__ import annotations

import asyncio
from pathlib import Path

from prefect_monitoring.archive import archiver
from unit.archive.fake_runs import NOON, FakeRuns
from unit.archive.site import Site

RUNS = 60
LINES = 3


def the_fake(runs: int = RUNS) -> FakeRuns:
    fake = FakeRuns(limit=20)
    for number in range(runs):
        run_id = fake.add(number, NOON + number)
        fake.add_task(run_id, "load", NOON + number)
        for line in range(LINES):
            fake.log(run_id, NOON + number, f"line {line}")
    return fake


def archive(folder: str, runs: int, batch: int) -> None:
    archiver.BATCH_RUNS = batch  # type: ignore[misc]
    site = Site(Path(folder), the_fake(runs))
    site.store.check()
    asyncio.run(site.archive(NOON, NOON + 3600))
