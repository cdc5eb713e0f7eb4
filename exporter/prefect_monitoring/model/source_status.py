"""Status of a source's readings, and of the pipelines file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from prefect_monitoring.model.series import Series

READING_BOUNDS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """Status of a source; `up` is None before its first reading.

    `complete_to`: the instant up to which everything has been read. `unreadable`: when each record that cannot be read
    now was first seen. `code`: of the last reading's failure, as in `prefect_exporter_api_requests_total`; "" if it
    succeeded.
    """

    name: str
    up: bool | None
    last_success: float | None
    complete_to: float | None
    readings: Series
    records: int
    error: str
    unreadable: tuple[float, ...] = ()
    code: str = ""


@dataclass(frozen=True, slots=True)
class ReconciliationReport:
    """The last reconciliation of a kind of runs: when, and how many the API has but the ledger could not count."""

    missing: int
    done_at: float


@dataclass(frozen=True, slots=True)
class FileStatus:
    """Whether the pipelines file is valid, and when a valid one was last read (None: not since the start)."""

    valid: bool
    last_success: float | None
