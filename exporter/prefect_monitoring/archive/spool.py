"""Rows of one run between the API and its files: in memory while they are few, else in a temporary file."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from typing import Any, Final

MEMORY_BYTES: Final = 64 * 1024


class Spool:
    """What is added, in order, as often as it is read."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(MEMORY_BYTES)  # noqa: SIM115 closed by close()

    def add(self, row: Any) -> None:
        self._file.write(json.dumps(row).encode() + b"\n")

    def __iter__(self) -> Iterator[Any]:
        self._file.seek(0)
        yield from map(json.loads, self._file)

    def close(self) -> None:
        self._file.close()
