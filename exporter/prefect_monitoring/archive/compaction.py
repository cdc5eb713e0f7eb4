"""Merges the batches of a closed day into one whose file sizes suit query engines, and deletes the replaced batches.

The new batch counts once its file of runs is there. Until the old ones are deleted, both count: each row names its
batch, so that the views take a run and its rows from one of them.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from prefect_monitoring.archive.batch_writer import put_batch, stored_file, table_writer
from prefect_monitoring.archive.index import counted_manifests
from prefect_monitoring.archive.manifest import MANIFESTS, Manifest, StoredFile, batch_in, batch_of, folder_of
from prefect_monitoring.archive.newest import NewestVersions
from prefect_monitoring.archive.parquet_files import LocalFile, row_groups
from prefect_monitoring.archive.schema import LOGS, RUNS, TABLES, TASK_RUNS
from prefect_monitoring.archive.store import Entry, Store, StoreError

MAX_FILE_BYTES: Final = 192 * 2**20
_SLACK: Final = 1.1
"""Files may be a little larger than their share, so that no last file of a few kilobytes is left."""
ORPHAN_SECONDS: Final = 86400.0
"""A batch without a file of runs may still be being written; after this time it was interrupted."""


@dataclass(frozen=True, slots=True)
class Compacted:
    """The result for a day: its Parquet files before and after, and their bytes after."""

    day: date
    files_before: int
    files_after: int
    bytes: int


def compact(store: Store, day: date, now: float | None = None) -> Compacted:
    """Merges a day; after a kill, the next call continues. Of a run with several versions, the newest stays.

    Raises StoreError.
    """
    before = len(_data_files(store, day))
    manifests = list(counted_manifests(store, day))
    replaced = {batch for manifest in manifests for batch in manifest.replaces}
    live = [manifest for manifest in manifests if manifest.batch not in replaced]
    kept = _merge(store, day, live) if len(live) > 1 else [manifest.batch for manifest in live]
    doomed = {manifest.batch for manifest in manifests}.difference(kept)
    _delete(store, day, kept, doomed, (time.time() if now is None else now) - ORPHAN_SECONDS)
    after = _data_files(store, day)
    return Compacted(day, before, len(after), sum(entry.size for entry in after))


def _data_files(store: Store, day: date) -> list[Entry]:
    return [entry for table in TABLES for entry in store.list(folder_of(table, day))]


def _merge(store: Store, day: date, manifests: Sequence[Manifest]) -> list[str]:
    members = tuple(sorted({member for manifest in manifests for member in manifest.runs}))
    replaces = tuple(sorted(manifest.batch for manifest in manifests))
    batch = batch_of(day, members, "compaction", *replaces)
    try:
        with tempfile.TemporaryDirectory(prefix="prefect-archive-") as name:
            folder = Path(name)
            newest = _newest(store, folder, manifests)
            finished = {table: _merged(store, folder, table, batch, manifests, newest) for table in TABLES}
            files = tuple(stored_file(file, table, day) for table, parts in finished.items() for file in parts)
            put_batch(store, Manifest(batch, day, datetime.now(UTC), members, files, replaces), finished)
    except OSError as error:
        raise StoreError(f"The temporary folder {tempfile.gettempdir()}: {error.strerror or error}") from error
    return [batch]


def _newest(store: Store, folder: Path, manifests: Sequence[Manifest]) -> Mapping[str, str]:
    newest = NewestVersions()
    for path in _files(store, folder, RUNS, manifests):
        newest.read(path)
    return newest.batches


def _merged(
    store: Store, folder: Path, table: str, batch: str, manifests: Sequence[Manifest], newest: Mapping[str, str]
) -> list[LocalFile]:
    size = sum(file.bytes for manifest in manifests for file in _of_table(table, manifest))
    files = max(-(-size // MAX_FILE_BYTES), 1)
    writer = table_writer(folder, table, batch, file_bytes=int(size / files * _SLACK) + 1)
    runs = "id" if table == RUNS else "flow_run_id"
    for manifest in manifests:
        kept = pa.array([run_id for run_id, _ in manifest.runs if newest.get(run_id) == manifest.batch], pa.string())
        for path in _files(store, folder, table, [manifest]):
            for group in row_groups(path):
                rows = group.filter(pc.is_in(group[runs], kept))
                names = pa.array([batch] * rows.num_rows, pa.string())
                writer.add_group(rows.set_column(rows.schema.get_field_index("batch"), "batch", names))
    return writer.close()


def _files(store: Store, folder: Path, table: str, manifests: Sequence[Manifest]) -> Iterator[Path]:
    """The files of a table, downloaded one at a time."""
    path = folder / "source.parquet"
    for manifest in manifests:
        for file in _of_table(table, manifest):
            store.download(file.key, path)
            yield path
            path.unlink()


def _of_table(table: str, manifest: Manifest) -> list[StoredFile]:
    return [file for file in manifest.files if file.key.startswith(f"{table}/")]


def _delete(store: Store, day: date, kept: Collection[str], doomed: Collection[str], orphans_before: float) -> None:
    """Deletes the files of `doomed` batches and old orphans; runs first: without them, a batch does not count."""
    for table in (RUNS, TASK_RUNS, LOGS, MANIFESTS):
        entries = [(entry, batch_in(entry.key)) for entry in store.list(folder_of(table, day))]
        store.delete(
            entry.key
            for entry, batch in entries
            if batch in doomed or (batch and batch not in kept and entry.written_at < orphans_before)
        )
