"""Writes one batch: up to a thousand runs that ended on one day (UTC), with their task runs, states and log lines.

The order of the files makes the batch count all at once: see manifest.py.
"""

from __future__ import annotations

import asyncio
import gzip
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

from prefect_monitoring.analysis.redaction import first_line
from prefect_monitoring.analysis.run_document import document_key, picked_document
from prefect_monitoring.archive.details import DetailsReader, RunDetails
from prefect_monitoring.archive.manifest import Manifest, StoredFile, batch_of, folder_of, manifest_key, member_of
from prefect_monitoring.archive.parquet_files import FILE_BYTES, LocalFile, TableWriter
from prefect_monitoring.archive.rows import log_row, run_row, task_run_row
from prefect_monitoring.archive.schema import LOGS, RUNS, TABLES, TASK_RUNS
from prefect_monitoring.archive.store import Store, StoreError
from prefect_monitoring.config.settings import ArchiveSettings

log = logging.getLogger(__name__)

RUNS_AT_ONCE: Final = 40
"""Runs whose details are read together, while those of the previous runs are written."""
_GZIP_LEVEL: Final = 6
_ALL_IN_ONE_FILE: Final = 2**40


@dataclass(frozen=True, slots=True)
class Written:
    """The result of a batch. `set_aside`: the ids of runs that could not be turned into rows."""

    manifest: Manifest
    task_runs: int
    log_lines: int
    bytes: int
    set_aside: tuple[str, ...]


class BatchWriter:
    def __init__(self, store: Store, details: DetailsReader, settings: ArchiveSettings) -> None:
        self._store = store
        self._details = details
        self._settings = settings

    async def write(self, day: date, runs: Sequence[dict[str, Any]]) -> Written:
        """Archives `runs`, which ended on `day`, as the API has them. Raises ApiError and StoreError."""
        try:
            with tempfile.TemporaryDirectory(prefix="prefect-archive-") as name:
                return await self._write(Path(name), day, runs)
        except OSError as error:
            raise StoreError(f"The temporary folder {tempfile.gettempdir()}: {error.strerror or error}") from error

    async def _write(self, folder: Path, day: date, runs: Sequence[dict[str, Any]]) -> Written:
        archived_at = datetime.now(UTC)
        batch = batch_of(day, map(member_of, runs))
        files = {table: table_writer(folder, table, batch) for table in TABLES}
        bad: set[str] = set()
        chunks = (runs[start : start + RUNS_AT_ONCE] for start in range(0, len(runs), RUNS_AT_ONCE))
        async with aclosing(self._details.read_ahead(chunks)) as details_of_chunks:
            async for chunk in details_of_chunks:
                good = await asyncio.to_thread(self._add, files, chunk, batch, archived_at)
                bad |= {details.run["id"] for details in chunk} - {details.run["id"] for details in good}
                await asyncio.to_thread(self._write_documents, folder, good, archived_at)
        finished = await asyncio.to_thread(lambda: {table: files[table].close() for table in TABLES})
        stored = tuple(stored_file(file, table, day) for table, parts in finished.items() for file in parts)
        members = tuple(member_of(run) for run in runs if run["id"] not in bad)
        manifest = Manifest(batch, day, archived_at, members, stored)
        if members:
            await asyncio.to_thread(put_batch, self._store, manifest, finished)
        rows = {table: sum(file.rows for file in parts) for table, parts in finished.items()}
        return Written(manifest, rows[TASK_RUNS], rows[LOGS], sum(file.bytes for file in stored), tuple(sorted(bad)))

    def _add(
        self, files: Mapping[str, TableWriter], chunk: Sequence[RunDetails], batch: str, archived_at: datetime
    ) -> list[RunDetails]:
        """Adds rows; returns the runs that have them, so that one bad record does not stop the others."""
        good = []
        for details in chunk:
            run_id = details.run["id"]
            try:
                row = run_row(
                    details.record(with_task_runs=False),
                    batch,
                    archived_at,
                    parameters=self._settings.archive_parameters,
                    states_complete=details.states_complete,
                )
                for run, child in details.task_runs:
                    task_row = task_run_row(run_id, batch, run, child)
                    files[TASK_RUNS].add(task_row, size=len(task_row["state_message"] or ""))
                for number, line in enumerate(details.logs):
                    files[LOGS].add(log_row(run_id, batch, number, line), size=len(line["message"]))
            except (KeyError, TypeError, ValueError) as error:  # the views do not show the rows it has so far
                reason = first_line(str(error), 200)
                log.warning("Set aside: flow run %s (%s: %s)", run_id, type(error).__name__, reason)
                continue
            messages = sum(len(state["message"] or "") for state in details.states)
            files[RUNS].add(row, size=messages + len(row["parameters"] or ""))
            good.append(details)
        return good

    def _write_documents(self, folder: Path, chunk: Sequence[RunDetails], archived_at: datetime) -> None:
        """Writes the documents of large runs one by one, via the disk."""
        if not self._settings.archive_documents:
            return
        small = [details for details in chunk if not details.is_large]
        self._store.put_many(
            (
                document_key(details.run["id"]),
                gzip.compress(b"".join(_pieces(details, archived_at)), _GZIP_LEVEL, mtime=0),
            )
            for details in small
        )
        for details in chunk:
            if details.is_large:
                self._write_large_document(folder, details, archived_at)

    def _write_large_document(self, folder: Path, details: RunDetails, archived_at: datetime) -> None:
        path = folder / f"{details.run['id']}.json.gz"
        try:
            # Without file name and time in the header: the same run gives the same bytes.
            with path.open("wb") as target, gzip.GzipFile("", "wb", _GZIP_LEVEL, target, mtime=0) as file:
                for piece in _pieces(details, archived_at):
                    file.write(piece)
            self._store.put_file(document_key(details.run["id"]), path)
        finally:
            path.unlink(missing_ok=True)


def _pieces(details: RunDetails, archived_at: datetime) -> Iterator[bytes]:
    return picked_document(details.record(with_task_runs=True), details.logs, archived_at=archived_at.isoformat())


def put_batch(store: Store, manifest: Manifest, finished: Mapping[str, Sequence[LocalFile]]) -> None:
    """Stores the files of runs last: they make the batch count."""
    for table in (LOGS, TASK_RUNS):
        for file in finished[table]:
            store.put_file(folder_of(table, manifest.day) + file.path.name, file.path)
    store.put(manifest_key(manifest.day, manifest.batch), manifest.encode())
    for file in finished[RUNS]:
        store.put_file(folder_of(RUNS, manifest.day) + file.path.name, file.path)


def table_writer(folder: Path, table: str, batch: str, file_bytes: int = FILE_BYTES) -> TableWriter:
    """Writes the files of a table into a folder of its name."""
    (folder / table).mkdir()
    # All runs of a batch are in one file: two files could not appear at once.
    return TableWriter(folder / table, table, batch, file_bytes=_ALL_IN_ONE_FILE if table == RUNS else file_bytes)


def stored_file(file: LocalFile, table: str, day: date) -> StoredFile:
    """A local file as the manifest names it."""
    return StoredFile(folder_of(table, day) + file.path.name, file.rows, file.bytes, file.sha256)
