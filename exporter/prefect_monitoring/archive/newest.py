"""Finds the newest version of each run, as the view in the docs does."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Final

import pyarrow.parquet as pq

_RANK: Final = ("version", "archived_at", "batch")


class NewestVersions:
    def __init__(self) -> None:
        self._ranks: dict[str, tuple[int, datetime, str]] = {}

    def read(self, path: Path) -> None:
        """Reads the rows of a file of runs."""
        table = pq.read_table(path, columns=["id", *_RANK], use_threads=False)
        columns = [table[name].to_pylist() for name in ("id", *_RANK)]
        for run_id, version, archived_at, batch in zip(*columns, strict=True):
            rank = version, archived_at, batch
            self._ranks[run_id] = max(self._ranks.get(run_id, rank), rank)

    @property
    def batches(self) -> dict[str, str]:
        """The batch that has the newest version of each run."""
        return {run_id: batch for run_id, (_, _, batch) in self._ranks.items()}
