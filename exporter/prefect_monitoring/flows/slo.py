"""Objectives that a flow checks itself: how long it may take, how many rows it may touch."""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import wraps
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar

from prefect_monitoring.analysis.durations import parse_duration
from prefect_monitoring.flows.custom_metrics import emit_metric
from prefect_monitoring.flows.run_context import run_logger, run_resource
from prefect_monitoring.flows.slack import notify_slack, require_prefect_slack
from prefect_monitoring.flows.slack_message import duration, escape

if TYPE_CHECKING:
    from prefect_slack import SlackWebhook

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

VIOLATIONS: Final = "slo_violations"
EVENT: Final = "prefect-monitoring.slo.violated"


@dataclass(slots=True)
class Measurement:
    """What one call or block has used up of its objectives."""

    rows: float = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add_rows(self, count: float) -> None:
        """Counts rows; tasks that run side by side may count into the same measurement."""
        with self._lock:
            self.rows += count


@dataclass(frozen=True, slots=True)
class Violation:
    """`objective` is the option's name; `limit` and `actual` are seconds or rows."""

    objective: str
    limit: float
    actual: float

    def __str__(self) -> str:
        if self.objective == "max_duration":
            return f"took {duration(self.actual)}, at most {duration(self.limit)} is allowed"
        return f"touched {self.actual:,.0f} rows, at most {self.limit:,.0f} are allowed"


_CURRENT: ContextVar[Measurement | None] = ContextVar("prefect_monitoring_slo", default=None)
# The `with` blocks around the calling code, the innermost last: an objective may be shared by threads and coroutines.
_OPEN: ContextVar[tuple[AbstractContextManager[Measurement], ...]] = ContextVar(
    "prefect_monitoring_slo_blocks", default=()
)


def record_rows(count: float) -> None:
    """Adds rows to the objective around the calling code, the innermost one; without one, does nothing."""
    if (measurement := _CURRENT.get()) is not None:
        measurement.add_rows(count)


class slo:  # noqa: N801 a decorator and context manager, used like contextlib's
    """Reports when a function or block misses its objectives; never fails it.

    `max_duration` is text such as `30m` or a number of seconds, `max_rows` is compared with what `record_rows` or
    `Measurement.add_rows` counted. A violation is a METRIC line `slo_violations{objective=…}`, an event
    `prefect-monitoring.slo.violated` on the flow run and, with `slack` (a block or its name), a message. `name` says
    which objective it is; by default the function's name. Raises ValueError or ImportError where it is declared.

    Rows that tasks record count as well, as long as their task runner uses threads; rows in other processes do not.
    """

    def __init__(
        self,
        *,
        max_duration: str | float | None = None,
        max_rows: float | None = None,
        slack: str | SlackWebhook | None = None,
        name: str = "",
    ) -> None:
        if max_duration is None and max_rows is None:
            raise ValueError("slo() needs max_duration, max_rows or both")
        self._max_duration = parse_duration(max_duration) if isinstance(max_duration, str) else max_duration
        self._max_rows = max_rows
        self._slack = slack
        self._name = name
        for option, limit in (("max_duration", self._max_duration), ("max_rows", max_rows)):
            if limit is not None and not float(limit) > 0:
                raise ValueError(f"slo(): {option} must be above 0")
        if slack is not None:
            require_prefect_slack()

    def __call__(self, function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
        name = self._name or getattr(function, "__name__", type(function).__name__)
        if hasattr(function, "with_options"):
            raise TypeError(f"slo() goes below @flow or @task, directly above the function {name}")
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(f"slo() cannot measure the generator {name}: use `with slo(…)` inside it")
        if inspect.iscoroutinefunction(function):

            @wraps(function)
            async def measured_async(*args: Any, **kwargs: Any) -> Any:
                with self._measure(name):
                    return await function(*args, **kwargs)

            return measured_async  # type: ignore[return-value] # a coroutine function in place of another

        @wraps(function)
        def measured(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
            with self._measure(name):
                return function(*args, **kwargs)

        return measured

    def __enter__(self) -> Measurement:
        block = self._measure(self._name or "block")
        measurement = block.__enter__()
        _OPEN.set((*_OPEN.get(), block))
        return measurement

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        *outer, block = _OPEN.get()
        _OPEN.set(tuple(outer))
        block.__exit__(kind, error, trace)

    @contextmanager
    def _measure(self, name: str) -> Iterator[Measurement]:
        measurement = Measurement()
        token = _CURRENT.set(measurement)
        begun = time.monotonic()
        try:
            yield measurement
        finally:
            _CURRENT.reset(token)
            _report(name, list(self._violations(time.monotonic() - begun, measurement.rows)), self._slack)

    def _violations(self, seconds: float, rows: float) -> Iterator[Violation]:
        for objective, limit, actual in (
            ("max_duration", self._max_duration, seconds),
            ("max_rows", self._max_rows, rows),
        ):
            if limit is not None and actual > limit:
                yield Violation(objective, limit, actual)


def _report(name: str, violations: Sequence[Violation], slack: str | SlackWebhook | None) -> None:
    """Reports violations; errors are logged. One Slack message for all, since each may take some seconds."""
    for violation in violations:
        run_logger().warning("%s missed its objective: %s", name, violation)
        emit_metric(VIOLATIONS, 1, objective=violation.objective)
        _emit_event(name, violation)
    if violations and slack is not None:
        notify_slack(slack, f"*{escape(name)}* missed its objective: {'; '.join(map(str, violations))}")


def _emit_event(name: str, violation: Violation) -> None:
    resource = run_resource()
    if not resource:
        return
    from prefect.events import emit_event

    try:
        emit_event(
            event=EVENT,
            resource={"prefect.resource.id": resource},
            payload={
                "name": name,
                "objective": violation.objective,
                "limit": violation.limit,
                "actual": violation.actual,
            },
        )
    except Exception as error:  # noqa: BLE001 the flow's work matters more than its report
        run_logger().warning("The event %s was not sent (%s)", EVENT, type(error).__name__)
