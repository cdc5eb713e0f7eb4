"""Models of what runs beside the exporter: a sink that it delivers to, and the archive with metrics of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from months.schedules import MINUTE
from prefect_monitoring.archive.metrics import ARCHIVE_METRICS, ArchiveStatus
from prefect_monitoring.model.sink_status import NO_ERRORS, SinkError, SinkStatus
from prefect_monitoring.prefect_api.client import Traffic

LOST = frozenset({SinkError.REFUSED, SinkError.EXPIRED})


@dataclass
class MonthSink:
    """Delivers once a minute, unless `fault` lasts since `since`: what is lost is not waited for."""

    name: str
    clock: Callable[[], float]
    fault: SinkError | None = None
    since: float = 0.0
    _errors: Counter[SinkError] = field(default_factory=Counter)

    def fail(self, fault: SinkError) -> None:
        self.fault, self.since = fault, self.clock()

    def recover(self) -> None:
        self._errors = self._errors_now()
        self.fault = None

    def status(self) -> SinkStatus:
        waits = self.fault is not None and self.fault not in LOST
        delivered_at = self.since if self.fault is not None else self.clock() // MINUTE * MINUTE
        errors = {**NO_ERRORS, **self._errors_now()}
        return SinkStatus(self.name, delivered_at, self.since if waits else None, errors)

    def _errors_now(self) -> Counter[SinkError]:
        found = self._errors.copy()
        if self.fault is not None:
            found[self.fault] += int((self.clock() - self.since) // MINUTE)
        return found


@dataclass
class MonthArchive:
    """Archives what ended some minutes ago, unless it is `stuck_at` an instant; it cannot read what is `set_aside`."""

    clock: Callable[[], float]
    stuck_at: float | None = None
    set_aside: set[str] = field(default_factory=set)

    def lines(self) -> Iterator[str]:
        """What a scrape of it gets."""
        now = self.clock()
        complete_until = (self.stuck_at or now) - 5 * MINUTE
        status = ArchiveStatus(Traffic(), complete_until, set_aside=self.set_aside)
        for metric in ARCHIVE_METRICS:
            for values, value in metric.rows(status):
                labels = ",".join(f'{name}="{text}"' for name, text in zip(metric.labels, values, strict=True))
                yield f"{metric.name}{'{' + labels + '}' if labels else ''} {value!r}"
