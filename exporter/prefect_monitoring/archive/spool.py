"""Rows of one run between the API and its files: in memory while they are few, else in a temporary file."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from typing import IO, Any, Final

MEMORY_BYTES: Final = 64 * 1024
_ROW_BYTES: Final = 512
"""What a row takes in memory without its text, roughly."""


class Spool:
    """Keeps rows in order; may be read several times."""

    def __init__(self) -> None:
        self._rows: list[Any] = []
        self._bytes = 0
        self._file: IO[bytes] | None = None

    @property
    def is_large(self) -> bool:
        return self._file is not None

    def add(self, row: Any, size: int) -> None:
        """`size`: characters of its text."""
        if self._file is not None:
            self._write(self._file, row)
            return
        self._rows.append(row)
        self._bytes += _ROW_BYTES + size
        if self._bytes > MEMORY_BYTES:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 closed by close()
            for waiting in self._rows:
                self._write(self._file, waiting)
            self._rows = []

    def _write(self, file: IO[bytes], row: Any) -> None:
        file.write(json.dumps(row).encode() + b"\n")

    def __iter__(self) -> Iterator[Any]:
        if self._file is None:
            yield from self._rows
            return
        self._file.seek(0)
        yield from map(json.loads, self._file)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
