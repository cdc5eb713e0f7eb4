"""Where files of the archive are kept: what a store can do, and its faults."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

WRITES_AT_ONCE: Final = 8


class StoreError(Exception):
    """A store that cannot be used. The message says what to do, and holds no secret."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of the archive: its key below the archive's address, its size in bytes, when it was written."""

    key: str
    size: int
    written_at: float


class Store(Protocol):
    """Files by key, such as `runs/dt=2026-11-29/….parquet`. A file is there as a whole or not at all.

    Every method raises StoreError. All are thread-safe.
    """

    def check(self) -> list[str]:
        """Warnings about a store that can be used: for example, that everybody can read it."""
        ...

    def put(self, key: str, content: bytes) -> None: ...

    def put_many(self, files: Iterable[tuple[str, bytes]]) -> None:
        """Small files by key, several at a time."""
        ...

    def put_file(self, key: str, path: Path) -> None: ...

    def get(self, key: str) -> bytes | None:
        """The content; None if there is no such file."""
        ...

    def download(self, key: str, path: Path) -> None: ...

    def list(self, prefix: str) -> Iterator[Entry]:
        """The files whose key begins with `prefix`, which ends in a slash."""
        ...

    def delete(self, keys: Iterable[str]) -> None:
        """Deletes files; ignores missing ones."""
        ...
