"""How the sinks fare: the parts of the exporter that deliver numbers, messages or files to somewhere else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final


class SinkError(StrEnum):
    """Why a delivery failed. It is tried again, unless it was refused or expired: that is lost."""

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
    """How a sink that is switched on fares. Instants in epoch seconds.

    `last_success`: its last delivery, those of earlier processes included. `waiting_since`: since when the oldest of
    what is still to be delivered could have been; None when nothing waits. `errors`: by reason, since the start.
    """

    name: str
    last_success: float | None = None
    waiting_since: float | None = None
    errors: Mapping[SinkError, int] = field(default_factory=lambda: NO_ERRORS)

    def failed(self, reason: SinkError, count: int = 1) -> SinkStatus:
        """The status after `count` more failures."""
        return replace(self, errors={**self.errors, reason: self.errors[reason] + count})

    def succeeded(self, at: float, waiting_since: float | None) -> SinkStatus:
        """The status after a delivery, with what waits now."""
        return replace(self, last_success=at, waiting_since=waiting_since)

    def lag(self, now: float) -> float:
        """For how many seconds the oldest of what is to be delivered has been waiting."""
        return 0.0 if self.waiting_since is None else max(now - self.waiting_since, 0.0)
