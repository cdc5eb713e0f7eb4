"""An archive in a folder of a disk: files are renamed into place, and reach the disk before they count."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final
from uuid import uuid4

from prefect_monitoring.archive.store import WRITES_AT_ONCE, Entry, StoreError

LEFTOVER_SECONDS: Final = 86400.0
_UNFINISHED: Final = ".unfinished"


class DiskStore:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def check(self) -> list[str]:
        """Removes unfinished files of killed processes; younger ones may belong to a running process."""
        with _faults(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            for leftover in self._folder.rglob(f".*{_UNFINISHED}"):
                with suppress(FileNotFoundError):
                    if leftover.stat().st_mtime < time.time() - LEFTOVER_SECONDS:
                        leftover.unlink()
        self.put("_check", b"")
        self.delete(["_check"])
        return []

    def put(self, key: str, content: bytes) -> None:
        self._write(key, lambda file: file.write(content))

    def put_many(self, files: Iterable[tuple[str, bytes]]) -> None:
        """Syncs each folder once, after all files."""
        with _faults(self._folder), ThreadPoolExecutor(WRITES_AT_ONCE) as pool:
            placed = pool.map(lambda file: self._place(file[0], lambda target: target.write(file[1])), files)
            for folder in set(placed):
                _sync_folder(folder)

    def put_file(self, key: str, path: Path) -> None:
        with path.open("rb") as source:
            self._write(key, lambda file: shutil.copyfileobj(source, file, 1 << 20))

    def get(self, key: str) -> bytes | None:
        with _faults(self._folder):
            try:
                return (self._folder / key).read_bytes()
            except FileNotFoundError:
                return None

    def download(self, key: str, path: Path) -> None:
        with _faults(self._folder):
            shutil.copyfile(self._folder / key, path)

    def list(self, prefix: str) -> Iterator[Entry]:
        with _faults(self._folder):
            for path in sorted((self._folder / prefix).rglob("*")):
                if path.is_file() and not path.name.startswith("."):
                    status = path.stat()
                    yield Entry(path.relative_to(self._folder).as_posix(), status.st_size, status.st_mtime)

    def delete(self, keys: Iterable[str]) -> None:
        with _faults(self._folder):
            for key in keys:
                (self._folder / key).unlink(missing_ok=True)

    def _write(self, key: str, write: Callable[[IO[bytes]], object]) -> None:
        """Readers see a whole file or none, also after a power cut: file and folder are synced around the rename."""
        with _faults(self._folder):
            _sync_folder(self._place(key, write))

    def _place(self, key: str, write: Callable[[IO[bytes]], object]) -> Path:
        """Writes a file; returns its folder, which is still to be synced. Raises OSError."""
        target = self._folder / key
        unfinished = target.with_name(f".{target.name}.{uuid4().hex}{_UNFINISHED}")
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with unfinished.open("xb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(target)
        except BaseException:
            unfinished.unlink(missing_ok=True)
            raise
        return target.parent


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _faults(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"The archive's folder {folder}: {error.strerror or type(error).__name__}") from error
