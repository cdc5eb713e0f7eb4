"""Writes rows of one table into Parquet files of a bounded size, with a bounded part of them in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from prefect_monitoring.archive.rows import Row
from prefect_monitoring.archive.schema import arrow_schema

GROUP_ROWS: Final = 20_000
GROUP_BYTES: Final = 8 * 2**20
"""Uncompressed text. A row group is written when it reaches either limit."""
MERGED_ROWS: Final = 100_000
MERGED_BYTES: Final = 32 * 2**20
"""The same for rows from other files, uncompressed."""
FILE_BYTES: Final = 128 * 2**20
"""A file that reaches this size is closed, and the next one is started."""
_ZSTD_LEVEL: Final = 3


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A finished file on this machine."""

    path: Path
    rows: int
    bytes: int
    sha256: str


class TableWriter:
    """Files `<name>-000.parquet`, `<name>-001.parquet`, … in `folder`; no file if there are no rows."""

    def __init__(self, folder: Path, table: str, name: str, *, file_bytes: int = FILE_BYTES) -> None:
        self._folder = folder
        self._schema = arrow_schema(table)
        self._name = name
        self._file_bytes = file_bytes
        self._waiting: list[Row] = []
        self._waiting_bytes = 0
        self._groups: list[pa.Table] = []
        self._writer: pq.ParquetWriter | None = None
        self._rows = 0
        self._finished: list[LocalFile] = []

    def add(self, row: Row, size: int = 0) -> None:
        """`size`: bytes of its text, if that may be large."""
        self._waiting.append(row)
        self._waiting_bytes += size
        if len(self._waiting) >= GROUP_ROWS or self._waiting_bytes >= GROUP_BYTES:
            self._flush()

    def add_group(self, group: pa.Table) -> None:
        """Rows as another file has them: small row groups become larger ones."""
        self._groups.append(group)
        if sum(part.num_rows for part in self._groups) >= MERGED_ROWS or self._group_bytes() >= MERGED_BYTES:
            self._flush()

    def _group_bytes(self) -> int:
        return sum(int(part.nbytes) for part in self._groups)

    def close(self) -> list[LocalFile]:
        self._flush()
        self._close_file()
        return self._finished

    def _flush(self) -> None:
        if self._waiting:
            group = pa.Table.from_pylist(self._waiting, schema=self._schema)
            self._waiting, self._waiting_bytes = [], 0
            self._write(group)
        if self._groups:
            merged = pa.concat_tables(self._groups)
            self._groups = []
            self._write(merged)

    def _write(self, group: pa.Table) -> None:
        if self._writer is None:
            path = self._folder / f"{self._name}-{len(self._finished):03}.parquet"
            self._writer = pq.ParquetWriter(path, self._schema, compression="zstd", compression_level=_ZSTD_LEVEL)
            self._path = path
        self._writer.write_table(group)
        self._rows += group.num_rows
        if self._path.stat().st_size >= self._file_bytes:
            self._close_file()

    def _close_file(self) -> None:
        if self._writer is not None:
            self._writer.close()
            digest = sha256_of(self._path)
            self._finished.append(LocalFile(self._path, self._rows, self._path.stat().st_size, digest))
            self._writer, self._rows = None, 0


def row_groups(path: Path) -> Iterator[pa.Table]:
    """The row groups of a file, one in memory at a time."""
    with pq.ParquetFile(path) as file:
        for number in range(file.num_row_groups):
            yield file.read_row_group(number, use_threads=False)


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
