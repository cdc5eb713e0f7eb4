"""What has been archived: one manifest a batch, and the file of runs that makes it count. Keys of all files. Pure.

A batch is written in this order: logs, task runs, documents, manifest, runs. It counts once its file of runs is there,
which is written atomically; a process that is killed before leaves files that no view shows.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import orjson

from prefect_monitoring.archive.rows import version_of
from prefect_monitoring.archive.schema import SCHEMA_VERSION

Member = tuple[str, str]
"""A run as it was archived: its id, and a value that changes whenever the run changes."""

MANIFESTS: Final = "_batches"  # engines skip what begins with an underscore
_BATCH: Final = re.compile(r"([0-9a-f]{24})")


@dataclass(frozen=True, slots=True)
class StoredFile:
    key: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """`replaces`: the batches whose rows a compaction has put into this one."""

    batch: str
    day: date
    archived_at: datetime
    runs: tuple[Member, ...]
    files: tuple[StoredFile, ...]
    replaces: tuple[str, ...] = ()

    def encode(self) -> bytes:
        return orjson.dumps(
            {
                "schema_version": SCHEMA_VERSION,
                "batch": self.batch,
                "day": self.day.isoformat(),
                "archived_at": self.archived_at.isoformat(),
                "replaces": self.replaces,
                "files": [
                    {"key": file.key, "rows": file.rows, "bytes": file.bytes, "sha256": file.sha256}
                    for file in self.files
                ],
                "runs": self.runs,
            },
            option=orjson.OPT_APPEND_NEWLINE,
        )


def decode_manifest(content: bytes) -> Manifest:
    """Raises ValueError or KeyError if `content` is not a manifest."""
    fields: dict[str, Any] = orjson.loads(content)
    return Manifest(
        fields["batch"],
        date.fromisoformat(fields["day"]),
        datetime.fromisoformat(fields["archived_at"]),
        tuple((run, state) for run, state in fields["runs"]),
        tuple(StoredFile(**file) for file in fields["files"]),
        tuple(fields["replaces"]),
    )


def member_of(run: dict[str, Any]) -> Member:
    """The member for a run from the API. A pruned state, which has no id, is identified by its instant."""
    return run["id"], str(run["state"]["id"] or version_of(run))


def batch_of(day: date, members: Iterable[Member], *more: str) -> str:
    """The name of a batch: the same for the same runs, so that a repeat writes the same files again."""
    text = "\n".join([day.isoformat(), *more, *sorted(f"{run} {state}" for run, state in members)])
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def digest_of(member: Member) -> bytes:
    """A short form of a member, since an index holds very many."""
    return hashlib.blake2b(" ".join(member).encode(), digest_size=12).digest()


def folder_of(table: str, day: date) -> str:
    return f"{table}/dt={day.isoformat()}/"


def manifest_key(day: date, batch: str) -> str:
    return f"{folder_of(MANIFESTS, day)}{batch}.json"


def batch_in(key: str) -> str | None:
    """The batch that a file of a day belongs to; None for a file that is not ours."""
    found = _BATCH.match(key.rpartition("/")[2])
    return found[1] if found else None


def day_of(instant: float) -> date:
    return datetime.fromtimestamp(instant, UTC).date()


def day_bounds(day: date) -> tuple[float, float]:
    """The first and the last microsecond of a day in UTC, as seconds since the epoch."""
    begin = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return begin.timestamp(), (begin + timedelta(days=1, microseconds=-1)).timestamp()
