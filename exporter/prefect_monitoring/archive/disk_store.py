"""An archive in a folder of a disk: files are renamed into place, and reach the disk before they count."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final
from uuid import uuid4

from prefect_monitoring.archive.store import Entry, StoreError

_UNFINISHED: Final = ".unfinished"


class DiskStore:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def check(self) -> list[str]:
        """Removes what a killed process has left unfinished."""
        with _faults(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            for left in self._folder.rglob(f".*{_UNFINISHED}"):
                left.unlink(missing_ok=True)
        self.put("_check", b"")
        self.delete(["_check"])
        return []

    def put(self, key: str, content: bytes) -> None:
        self._write(key, lambda file: file.write(content))

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
                    found = path.stat()
                    yield Entry(path.relative_to(self._folder).as_posix(), found.st_size, found.st_mtime)

    def delete(self, keys: Iterable[str]) -> None:
        with _faults(self._folder):
            for key in keys:
                (self._folder / key).unlink(missing_ok=True)

    def _write(self, key: str, write: Callable[[IO[bytes]], object]) -> None:
        """Readers see a whole file or none, also after a power cut: file and folder are synced around the rename."""
        target = self._folder / key
        unfinished = target.with_name(f".{target.name}.{uuid4().hex}{_UNFINISHED}")
        with _faults(self._folder):
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                with unfinished.open("xb") as file:
                    write(file)
                    file.flush()
                    os.fsync(file.fileno())
                unfinished.replace(target)
                _sync_folder(target.parent)
            except BaseException:
                unfinished.unlink(missing_ok=True)
                raise


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
