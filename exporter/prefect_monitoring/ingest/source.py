"""One reading of one source: its turn, its deadline, its success, its duration, and an outage reported once."""

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
    """What is read together: at each poll, beside it, at each inventory interval, and at each audit interval."""

    POLL = "poll"
    DETAILS = "details"
    INVENTORY = "inventory"
    AUDIT = "audit"


class Lookback(StrEnum):
    """The option that says how far back a first start reads, and how long what was counted is remembered."""

    RUNS = "lookback"
    DETAILS = "task_lookback"


@dataclass(frozen=True, slots=True)
class Scope:
    """How far a reading goes: it begins no page after `budget` seconds, and compares nothing after the instant `until`.

    `until` is None except for a source that `compares`.
    """

    budget: float
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """What one reading gave. Not `complete`: there is more, which the next reading takes up, at once.

    Not `asked`: by what another source last gave, there was nothing to ask for.
    """

    records: int
    complete: bool = True
    asked: bool = True


@dataclass(slots=True)
class _Outage:
    """What keeps a source from being read: the faults of an outage, and since when, by the monotonic clock.

    `is_reported`: the log has it as a warning, and its end is to be there too.
    """

    since: float
    faults: set[str] = field(default_factory=set)
    is_reported: bool = False


class OutageLog:
    """Logs each outage once, and its end once: one that several sources meet alike is one outage.

    It is, while nothing else works. A source that fails while another one is read has an outage to itself, whatever
    its fault, and whatever else is down.
    """

    def __init__(self) -> None:
        self._failing: dict[str, _Outage] = {}
        self._worked_at = -math.inf

    def failed(self, source: str, reason: str, defect: Exception | None = None) -> None:
        fault = reason.lstrip("0123456789 ")  # how many runs wait changes with every reading, the fault does not
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
        others = (other for other in self._failing.values() if not other.is_reported and other.faults & outage.faults)
        if outage.is_reported and (heir := next(others, None)) is not None:
            heir.is_reported, outage.is_reported = True, False  # it goes on there, and so does its report
        level = logging.INFO if outage.is_reported else logging.DEBUG
        log.log(level, "Reading %s works again after %.0f s", source, seconds)


@dataclass(slots=True)
class Source:
    """A source's readings so far. `read` never raises: an outage of one source is no other source's business.

    `answered` is whether the API did, whatever became of the answer: a full disk is no outage of Prefect's.
    `has_more`: the last reading worked, and left something for the next.
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
        """Runs `reading` within the source's deadline; whether it worked.

        What it asks for depends on the source that it `follows`: while that cannot be read, to ask for nothing is no
        success.
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
