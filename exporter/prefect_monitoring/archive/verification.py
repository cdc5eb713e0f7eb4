"""Compares a day of the archive with its manifests, and with what Prefect still holds."""

from __future__ import annotations

import random
import tempfile
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from prefect_monitoring.analysis import run_document
from prefect_monitoring.archive.archiver import Stretch, slim
from prefect_monitoring.archive.index import counted_manifests
from prefect_monitoring.archive.manifest import Manifest, StoredFile, folder_of, member_of
from prefect_monitoring.archive.newest import NewestVersions
from prefect_monitoring.archive.parquet_files import row_groups, sha256_of
from prefect_monitoring.archive.rows import log_row
from prefect_monitoring.archive.schema import LOGS, RUNS, TABLES, TASK_RUNS
from prefect_monitoring.archive.store import Store
from prefect_monitoring.prefect_api.raw_runs import RawRunsApi

SAMPLE_RUNS: Final = 5
_COUNTED_TOGETHER: Final = 100

Line = tuple[datetime | None, str]


@dataclass(slots=True)
class Verdict:
    """The faults of a day; `runs` is how many Prefect has, `lines` how many log lines were read again."""

    runs: int = 0
    files: int = 0
    lines: int = 0
    faults: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Day:
    """What the files of a day hold: task runs by run and batch, and the lines of the sample."""

    newest: NewestVersions = field(default_factory=NewestVersions)
    task_runs: Counter[tuple[str, str]] = field(default_factory=Counter)
    lines: defaultdict[tuple[str, str], list[Line]] = field(default_factory=lambda: defaultdict(list))


async def verify(store: Store, api: RawRunsApi, stretch: Stretch) -> Verdict:
    """Raises ApiError and StoreError."""
    verdict = Verdict()
    manifests = list(counted_manifests(store, stretch.day))
    archived = {member for manifest in manifests for member in manifest.runs}
    held = [
        member_of(slim(run, with_parameters=False))
        async for page in api.finished(stretch.after, stretch.before)
        for run in page
    ]
    verdict.runs = len(held)
    verdict.faults += [
        f"flow run {run_id} is not archived" for run_id, state in held if (run_id, state) not in archived
    ]
    present = sorted(run_id for run_id, state in held if (run_id, state) in archived)
    sample = random.Random(stretch.day.toordinal()).sample(present, min(SAMPLE_RUNS, len(present)))  # noqa: S311
    stored = _read(store, manifests, sample, verdict)
    batches = stored.newest.batches
    verdict.faults += [fault async for fault in _missing_task_runs(api, present, batches, stored.task_runs)]
    for run_id in sample:
        lines = await _lines(api, run_id)
        verdict.lines += len(lines)
        if missing := Counter(lines) - Counter(stored.lines[run_id, batches.get(run_id, "")]):
            verdict.faults.append(f"flow run {run_id}: {missing.total()} of {len(lines)} log lines are not archived")
    return verdict


def _read(store: Store, manifests: Sequence[Manifest], sample: Collection[str], verdict: Verdict) -> _Day:
    stored = _Day()
    existing = {
        entry.key
        for day in {manifest.day for manifest in manifests}
        for table in TABLES
        for entry in store.list(folder_of(table, day))
    }
    with tempfile.TemporaryDirectory(prefix="prefect-archive-") as folder:
        path = Path(folder) / "file.parquet"
        for file in (file for manifest in manifests for file in manifest.files):
            verdict.files += 1
            if file.key not in existing:
                verdict.faults.append(f"{file.key} is missing")
                continue
            store.download(file.key, path)
            if fault := _damage(path, file):
                verdict.faults.append(f"{file.key}: {fault}")
                continue
            _add_rows(stored, file.key.partition("/")[0], path, sample)
    return stored


def _damage(path: Path, file: StoredFile) -> str:
    if sha256_of(path) != file.sha256:
        return "its content is not what was written (SHA-256)"
    rows = pq.read_metadata(path).num_rows
    return f"{rows} rows instead of {file.rows}" if rows != file.rows else ""


def _add_rows(stored: _Day, table: str, path: Path, sample: Collection[str]) -> None:
    if table == RUNS:
        stored.newest.read(path)
        return
    for group in row_groups(path):
        if table == TASK_RUNS:
            stored.task_runs.update(zip(group["flow_run_id"].to_pylist(), group["batch"].to_pylist(), strict=True))
        elif table == LOGS:
            rows = group.filter(pc.is_in(group["flow_run_id"], value_set=pa.array(sorted(sample), pa.string())))
            for row in rows.select(["flow_run_id", "batch", "timestamp", "message"]).to_pylist():
                stored.lines[row["flow_run_id"], row["batch"]].append((row["timestamp"], row["message"]))


async def _missing_task_runs(
    api: RawRunsApi,
    run_ids: Sequence[str],
    batches: Mapping[str, str],
    archived: Mapping[tuple[str, str], int],
) -> AsyncIterator[str]:
    for chunk in _chunks(run_ids, _COUNTED_TOGETHER):
        if await api.count_task_runs(chunk) <= sum(archived[run_id, batches.get(run_id, "")] for run_id in chunk):
            continue
        for run_id in chunk:
            held, kept = await api.count_task_runs([run_id]), archived[run_id, batches.get(run_id, "")]
            if held > kept:
                yield f"flow run {run_id}: {held - kept} of {held} task runs are not archived"


async def _lines(api: RawRunsApi, run_id: str) -> list[Line]:
    rows = [log_row(run_id, "", 0, run_document.log_line(line)) async for page in api.logs([run_id]) for line in page]
    return [(row["timestamp"], row["message"]) for row in rows]


def _chunks(values: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    yield from (values[start : start + size] for start in range(0, len(values), size))
