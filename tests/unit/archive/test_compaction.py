"""Compaction: fewer, larger files with the same answers, through kills, and beside a follower."""

from __future__ import annotations

import time
from datetime import date
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from prefect_monitoring.archive import archiver, compaction
from prefect_monitoring.archive.compaction import ORPHAN_SECONDS, compact
from prefect_monitoring.archive.index import counted_manifests
from prefect_monitoring.archive.parquet_files import TableWriter
from unit.archive.fake_runs import NOON, FakeRuns
from unit.archive.killed_process import the_fake
from unit.archive.site import Site
from unit.archive.test_killed import KilledError, KilledStore

pytestmark = pytest.mark.slow

DAY = date(2026, 11, 28)
ANSWERS = {
    "latest_runs": "select id, version, state_type, states from latest_runs order by id",
    "latest_task_runs": "select flow_run_id, id, task from latest_task_runs order by all",
    "latest_logs": "select flow_run_id, line, message from latest_logs order by all",
}


def answers(site: Site) -> dict[str, list[tuple[object, ...]]]:
    return {name: site.view(query) for name, query in ANSWERS.items()}


@pytest.fixture
async def busy(archived: Site, fake_runs: FakeRuns, monkeypatch: pytest.MonkeyPatch) -> Site:
    """An archive of a day with many small batches, in which a run was changed by hand."""
    monkeypatch.setattr(archiver, "BATCH_RUNS", 4)
    site = Site(archived.folder, the_fake(runs=20))
    await site.archive(NOON, NOON + 3600)
    site.fake.end_again("run-000003", "FAILED", NOON + 7200)
    await site.archive(NOON, NOON + 3600)
    return site


async def test_compacted_day_has_one_file_per_table_and_the_same_rows(busy: Site) -> None:
    before = answers(busy)
    assert len(busy.files("logs")) == 6
    done = compact(busy.store, DAY)
    assert (done.files_before, done.files_after) == (18, 3)
    assert answers(busy) == before
    assert [len(busy.files(table)) for table in ("runs", "task_runs", "logs", "_batches")] == [1, 1, 1, 1]
    assert busy.read("runs", "count(*)") == [(20,)], "of the run with two versions, the newest"
    assert await busy.archive(NOON, NOON + 3600) == 0, "everything still counts as archived"


async def test_compacted_day_is_not_rewritten_until_new_files_arrive(busy: Site) -> None:
    compact(busy.store, DAY)
    before = busy.files()
    compact(busy.store, DAY)
    assert busy.files() == before
    busy.fake.end_again("run-000005", "FAILED", NOON + 9000)
    assert await busy.archive(NOON, NOON + 3600) == 1
    expected = answers(busy)
    compact(busy.store, DAY)
    assert answers(busy) == expected
    assert len(busy.files("runs")) == 1


@pytest.mark.parametrize("writes_last", [True, False])
async def test_compaction_killed_at_any_write_or_delete_keeps_the_rows(busy: Site, *, writes_last: bool) -> None:
    expected = answers(busy)
    deaths = 0
    for lives in range(100):
        try:
            compact(KilledStore(busy.folder, lives, writes_last=writes_last), DAY)
        except KilledError:
            deaths += 1
            assert answers(busy) == expected
        else:
            break
    assert deaths >= 5
    compact(busy.store, DAY, time.time() + 2 * ORPHAN_SECONDS)
    assert [len(busy.files(table)) for table in ("runs", "task_runs", "logs", "_batches")] == [1, 1, 1, 1]


async def test_compaction_keeps_files_of_a_live_writer_and_removes_abandoned_ones(busy: Site) -> None:
    key = f"logs/dt={DAY}/{'0' * 24}-000.parquet"
    busy.store.put(key, b"on its way")
    busy.store.put(f"logs/dt={DAY}/notes.txt", b"not ours")
    compact(busy.store, DAY)
    assert key in busy.files("logs")
    compact(busy.store, DAY, time.time() + 2 * ORPHAN_SECONDS)
    assert key not in busy.files("logs")
    assert f"logs/dt={DAY}/notes.txt" in busy.files("logs")


async def test_compaction_does_not_restore_rows_of_a_set_aside_run(
    archived: Site, fake_runs: FakeRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = fake_runs.add(1, NOON, created="yesterday"), fake_runs.add(2, NOON)
    fake_runs.log(bad, NOON, "line")
    fake_runs.lines[-1]["timestamp"] = "noon"
    fake_runs.log(bad, NOON, "other line")
    await archived.archive(NOON, NOON)
    fake_runs.runs[bad]["created"] = fake_runs.runs[good]["created"]
    fake_runs.lines[0]["timestamp"] = fake_runs.lines[1]["timestamp"]
    await archived.archive(NOON, NOON)
    compact(archived.store, DAY)
    assert archived.view("select message from latest_logs order by all") == [("line",), ("other line",)]


async def test_large_day_is_compacted_into_files_of_similar_size(busy: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    before = answers(busy)
    size = sum(entry.size for entry in busy.store.list("logs/"))
    monkeypatch.setattr(compaction, "MAX_FILE_BYTES", size // 20)  # footers make up most of such small files
    monkeypatch.setattr("prefect_monitoring.archive.parquet_files.MERGED_ROWS", 1)
    compact(busy.store, DAY)
    assert len(busy.files("logs")) > 1
    assert answers(busy) == before
    (manifest,) = counted_manifests(busy.store, DAY)
    assert {file.key for file in manifest.files} == {
        entry for table in ("runs", "task_runs", "logs") for entry in busy.files(table)
    }


def test_compaction_merges_small_row_groups(tmp_path: Path) -> None:
    small = TableWriter(tmp_path, "logs", "small")
    for number in range(50):
        small.add({"flow_run_id": "r", "line": number, "message": "m"})
        small._flush()
    (file,) = small.close()
    assert pq.read_metadata(file.path).num_row_groups == 50
    merged = TableWriter(tmp_path, "logs", "merged")
    for number in range(50):
        merged.add_group(pq.ParquetFile(file.path).read_row_group(number))
    (whole,) = merged.close()
    assert (pq.read_metadata(whole.path).num_row_groups, whole.rows) == (1, 50)
