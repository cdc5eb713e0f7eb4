"""Which runs are archived already: read from the archive itself, so that no separate record can disagree with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import Final

from prefect_monitoring.archive.manifest import (
    MANIFESTS,
    Manifest,
    Member,
    batch_in,
    decode_manifest,
    digest_of,
    folder_of,
    manifest_key,
)
from prefect_monitoring.archive.schema import RUNS
from prefect_monitoring.archive.store import Store, StoreError

DAYS_KEPT: Final = 2
READS_AT_ONCE: Final = 8


class Index:
    """Caches the archived runs of the newest days that were requested."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._days: dict[date, set[bytes]] = {}

    def of(self, day: date) -> set[bytes]:
        """Digests of the runs that are archived on `day`. Raises StoreError."""
        if day not in self._days:
            while len(self._days) >= DAYS_KEPT:
                del self._days[min(self._days)]
            self._days[day] = {
                digest_of(member) for manifest in counted_manifests(self._store, day) for member in manifest.runs
            }
        return self._days[day]

    def add(self, day: date, members: Iterable[Member]) -> None:
        self.of(day).update(map(digest_of, members))


def counted_manifests(store: Store, day: date) -> Iterator[Manifest]:
    """The manifests of the batches of a day that count. Raises StoreError."""
    counted = {batch_in(entry.key) for entry in store.list(folder_of(RUNS, day))}
    known = {batch_in(entry.key) for entry in store.list(folder_of(MANIFESTS, day))}
    batches = sorted(batch for batch in counted & known if batch)
    with ThreadPoolExecutor(READS_AT_ONCE) as pool:
        yield from pool.map(lambda batch: _read(store, day, batch), batches)


def _read(store: Store, day: date, batch: str) -> Manifest:
    key = manifest_key(day, batch)
    content = store.get(key)
    if content is None:
        raise StoreError(f"{key} disappeared while it was read: is another process compacting?")
    try:
        return decode_manifest(content)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise StoreError(f"{key} is damaged: restore it, or delete it to archive its runs once more") from None
