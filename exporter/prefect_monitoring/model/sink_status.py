"""Status of the sinks, which deliver numbers, messages or files to other systems."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final


class SinkError(StrEnum):
    """Why a delivery failed. It is tried again, unless it was refused or has expired, in which case it is lost."""

    UNREACHABLE = "unreachable"  # no answer in time, or an error of the service itself
    THROTTLED = "throttled"
    CREDENTIALS = "credentials"  # missing, wrong, or without the right to write there
    CONFIGURATION = "configuration"  # such as a missing region, or a bucket that does not exist
    REFUSED = "refused"  # the service does not take it as it is
    EXPIRED = "expired"  # older than the service takes
    INTERNAL = "internal"  # a defect of ours


NO_ERRORS: Final[Mapping[SinkError, int]] = dict.fromkeys(SinkError, 0)


@dataclass(frozen=True, slots=True)
class SinkStatus:
    """Status of a sink that is switched on. Instants in epoch seconds.

    `last_success`: its last delivery, also by earlier processes. `waiting_since`: since when the oldest pending item
    could have been delivered; None when nothing is pending. `errors`: by reason, since the start.
    """

    name: str
    last_success: float | None = None
    waiting_since: float | None = None
    errors: Mapping[SinkError, int] = field(default_factory=lambda: NO_ERRORS)

    def failed(self, reason: SinkError, count: int = 1) -> SinkStatus:
        """The status after `count` more failures."""
        return replace(self, errors={**self.errors, reason: self.errors[reason] + count})

    def succeeded(self, at: float, waiting_since: float | None) -> SinkStatus:
        """The status after a delivery, with what is pending now."""
        return replace(self, last_success=at, waiting_since=waiting_since)

    def lag(self, now: float) -> float:
        """Seconds for which the oldest pending item has been waiting."""
        return 0.0 if self.waiting_since is None else max(now - self.waiting_since, 0.0)
