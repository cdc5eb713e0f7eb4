"""Each run is archived once through crashes at every write and SIGKILL at any moment.

ARCHIVE_KILLS is the number of SIGKILLs (default 20).
"""

from __future__ import annotations

import multiprocessing
import os
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from prefect_monitoring.archive import archiver
from prefect_monitoring.archive.disk_store import DiskStore
from unit.archive.fake_runs import NOON
from unit.archive.killed_process import LINES, RUNS, archive, the_fake
from unit.archive.site import Site

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("ARCHIVE_KILLS", "20"))


class KilledError(BaseException):
    """Simulates the end of the process."""


class KilledStore(DiskStore):
    """Dies after a number of writes; the write after them is complete or missing."""

    def __init__(self, folder: Path, lives: int, *, writes_last: bool) -> None:
        super().__init__(folder)
        self.lives = lives
        self.writes_last = writes_last

    def put(self, key: str, content: bytes) -> None:
        self._write_or_die(lambda: super(KilledStore, self).put(key, content))

    def put_file(self, key: str, path: Path) -> None:
        self._write_or_die(lambda: super(KilledStore, self).put_file(key, path))

    def delete(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._write_or_die(lambda key=key: super(KilledStore, self).delete([key]))  # type: ignore[misc]

    def _write_or_die(self, write: Any) -> None:
        dies = self.lives == 0
        self.lives -= 1
        if not dies or self.writes_last:
            write()
        if dies:
            raise KilledError


def check_whole(site: Site, runs: int) -> None:
    assert site.view("select count(*), count(distinct id) from latest_runs") == [(runs, runs)]
    assert site.view("select count(*), count(distinct id) from latest_task_runs") == [(runs, runs)]
    assert site.view("select count(*), count(distinct (flow_run_id, line)) from latest_logs") == [
        (runs * LINES, runs * LINES)
    ]


@pytest.mark.parametrize("writes_last", [True, False])
async def test_archiver_killed_at_every_write_loses_and_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, writes_last: bool
) -> None:
    """Each process dies one write later than the previous one and continues from what that left."""
    monkeypatch.setattr(archiver, "BATCH_RUNS", 4)
    fake = the_fake(runs=12)
    site = Site(tmp_path, fake)
    deaths = 0
    for lives in range(100):
        killed = site.archiver(KilledStore(tmp_path, lives, writes_last=writes_last), archive_documents=False)
        try:
            for stretch in archiver.stretches(NOON, NOON + 3600):
                await killed.archive(stretch)
        except KilledError:
            deaths += 1
            counts = site.view("select count(*), count(distinct id) from latest_runs")
            assert counts[0][0] == counts[0][1]
            assert site.view("select count(*) from latest_logs")[0][0] == counts[0][0] * LINES
        else:
            break
    assert deaths >= 4
    check_whole(site, 12)


def test_archiver_killed_at_any_moment_loses_and_doubles_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["unit.archive.killed_process"])
    chance = random.Random(4)
    kills = 0
    site = Site(tmp_path, the_fake())
    runs = RUNS
    while kills < KILLS:
        process = context.Process(target=archive, args=(str(tmp_path), runs, chance.choice([3, 10, 40])))
        process.start()
        process.join(chance.uniform(0.0, 0.6))
        if process.is_alive():
            process.kill()
            kills += 1
        else:
            runs += 20  # everything is archived: add more
        process.join()
    process = context.Process(target=archive, args=(str(tmp_path), runs, 1000))
    process.start()
    process.join()
    assert process.exitcode == 0
    check_whole(site, runs)
