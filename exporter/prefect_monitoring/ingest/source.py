"""A source's readings: turn, deadline, success and duration; each outage is logged once."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum

from prefect_monitoring.ledger.errors import LedgerError
from prefect_monitoring.model.series import Series, observe
from prefect_monitoring.model.source_status import READING_BOUNDS, SourceStatus
from prefect_monitoring.prefect_api.errors import INCOMPLETE, ApiError

log = logging.getLogger(__name__)


class Turn(StrEnum):
    """Sources that are read together: at each poll, concurrently with it, at each inventory, and at each audit."""

    POLL = "poll"
    DETAILS = "details"
    INVENTORY = "inventory"
    AUDIT = "audit"


class Lookback(StrEnum):
    """The option that sets how far back a first start reads, and for how long records are kept."""

    RUNS = "lookback"
    DETAILS = "task_lookback"


@dataclass(frozen=True, slots=True)
class Scope:
    """Limits of a reading: it requests no page after `budget` seconds, and compares nothing after the instant `until`.

    `until` is None except for a source that `compares`.
    """

    budget: float
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """The result of a reading. Not `complete`: the next reading, which starts at once, has more to read.

    Not `asked`: given the last result of another source, there was nothing to request.
    """

    records: int
    complete: bool = True
    asked: bool = True


@dataclass(slots=True)
class _Outage:
    """The faults of a source's outage, and since when (monotonic clock).

    `is_reported`: it was logged as a warning, so its end is to be logged too.
    """

    since: float
    faults: set[str] = field(default_factory=set)
    is_reported: bool = False


class OutageLog:
    """Logs each outage and its end once; the same fault of several sources is one outage.

    That holds while no source works. A source that fails while another one works has its own outage, whatever its
    fault.
    """

    def __init__(self) -> None:
        self._failing: dict[str, _Outage] = {}
        self._worked_at = -math.inf

    def failed(self, source: str, reason: str, defect: Exception | None = None) -> None:
        fault = reason.lstrip("0123456789 ")  # the number of waiting runs changes with every reading
        own = self._failing.setdefault(source, _Outage(time.monotonic()))
        is_known = fault in own.faults or any(
            fault in outage.faults and outage.since >= self._worked_at for outage in self._failing.values()
        )
        own.faults.add(fault)
        own.is_reported |= not is_known
        level = logging.DEBUG if is_known else logging.WARNING
        log.log(level, "Reading %s failed: %s", source, reason, exc_info=defect)

    def worked(self, source: str) -> None:
        self._worked_at = time.monotonic()
        outage = self._failing.pop(source, None)
        if outage is None:
            return
        seconds = self._worked_at - outage.since
        if not self._failing:
            log.info("Every source is read again; the last to recover was %s, after %.0f s", source, seconds)
            return
        same = (other for other in self._failing.values() if not other.is_reported and other.faults & outage.faults)
        if outage.is_reported and (heir := next(same, None)) is not None:
            heir.is_reported, outage.is_reported = True, False  # the outage continues there
        level = logging.INFO if outage.is_reported else logging.DEBUG
        log.log(level, "Reading %s works again after %.0f s", source, seconds)


@dataclass(slots=True)
class Source:
    """A source's readings so far. `read` never raises, so that an outage of one source does not stop others.

    `answered`: whether the API answered, even if the answer could not be stored: a full disk is not an API outage.
    `has_more`: the last reading worked, and the next has more to read.
    """

    name: str
    timeout: float
    outages: OutageLog
    clock: Callable[[], float] = time.time
    up: bool | None = None
    answered: bool | None = None
    last_success: float | None = None
    complete_to: float | None = None
    has_more: bool = False
    readings: Series = field(default_factory=lambda: Series(0.0, (0,) * (len(READING_BOUNDS) + 1), released=True))
    records: int = 0
    error: str = "not read yet"
    code: str = ""

    async def read(self, reading: Callable[[], Awaitable[Reading]], follows: Source | None = None) -> bool:
        """Runs `reading` within the source's deadline, and returns whether it worked.

        Its requests depend on the source that it `follows`: while that one cannot be read, a reading without requests
        is not a success.
        """
        started, begun = self.clock(), time.monotonic()
        self.has_more = False
        try:
            async with asyncio.timeout(self.timeout):
                result = await reading()
        except LedgerError as error:
            self._failed(str(error), answered=True)
        except ApiError as error:
            self._failed(str(error), answered=error.code == INCOMPLETE, code=error.code)
        except TimeoutError:
            self._failed(f"no complete answer within {self.timeout:g} s")
        except Exception as error:  # noqa: BLE001 a defect in one source must not stop the others
            self._failed(f"unexpected {type(error).__name__}", defect=error)
        else:
            if not result.asked and follows is not None and not follows.up:
                self.up, self.answered, self.error = None, None, f"not asked: {follows.name} cannot be read"
                return False
            self.up, self.answered, self.error, self.last_success = True, True, "", self.clock()
            self.code = ""
            self.records += result.records
            self.has_more = not result.complete
            if result.complete:
                self.complete_to = started
            self.outages.worked(self.name)
        self.readings = observe(self.readings, [time.monotonic() - begun], READING_BOUNDS)
        return bool(self.up)

    def _failed(self, reason: str, *, answered: bool = False, code: str = "", defect: Exception | None = None) -> None:
        self.up, self.answered, self.error, self.code = False, answered, reason, code
        self.outages.failed(self.name, reason, defect)

    def status(self) -> SourceStatus:
        return SourceStatus(
            self.name,
            self.up,
            self.last_success,
            self.complete_to,
            self.readings,
            self.records,
            self.error,
            code=self.code,
        )
