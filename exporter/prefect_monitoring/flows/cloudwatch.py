"""Metrics that a flow pushes to CloudWatch itself: collected, and sent in batches by a background thread.

CloudWatch never fails a run: errors are warnings in the run's log, once per cause.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from datetime import datetime
from importlib.util import find_spec
from multiprocessing.util import Finalize
from typing import TYPE_CHECKING, Any, Final

from prefect_monitoring.flows.aws import AWS_EXTRA, cause, make_client
from prefect_monitoring.flows.run_context import run_logger
from prefect_monitoring.model.cloudwatch import (
    MAX_DATA,
    Datum,
    check_namespace,
    is_in_time,
    make_datum,
    merge,
    requests,
)

if TYPE_CHECKING:
    from prefect_monitoring.flows.run_context import Logger

DEFAULT_NAMESPACE: Final = "DataPipelines"
NAMESPACE_VARIABLE: Final = "PREFECT_MONITORING_CLOUDWATCH_NAMESPACE"
FLUSH_SECONDS: Final = 10.0
MAX_EXIT_SECONDS: Final = 5.0
MAX_PENDING: Final = 50_000


def push_cloudwatch(
    name: str,
    value: float,
    unit: str = "None",
    *,
    namespace: str = "",
    timestamp: datetime | None = None,
    **dimensions: str,
) -> None:
    """Hands one value to the background thread, which sends the collected values within `FLUSH_SECONDS`.

    `unit` is one of CloudWatch's, such as Count, Seconds, Bytes or Percent. `timestamp` is now by default, `namespace`
    that of the environment variable PREFECT_MONITORING_CLOUDWATCH_NAMESPACE, else DataPipelines. Region, credentials
    and endpoint are AWS's own settings. Values that are left when the process ends are sent then,
    within `MAX_EXIT_SECONDS`. Raises nothing: a value that CloudWatch would refuse is logged as a warning.
    """
    logger = run_logger()
    try:
        at = time.time() if timestamp is None else timestamp.timestamp()
        datum = make_datum(name, float(value), unit, dimensions, at)
        target = check_namespace(namespace or os.environ.get(NAMESPACE_VARIABLE) or DEFAULT_NAMESPACE)
        if not is_in_time(datum, time.time()):
            raise ValueError(f"metric {name!r}: CloudWatch accepts values up to two weeks old and two hours ahead")
    except (ValueError, TypeError, OverflowError) as error:
        logger.warning("Not pushed to CloudWatch: %s", error)
        return
    _SENDER.add(target, datum, logger)


def flush_cloudwatch(max_seconds: float = MAX_EXIT_SECONDS) -> bool:
    """Sends the pending values now; whether all were sent, or dropped with a warning, within `max_seconds`.

    Only processes that outlive many runs need it, as the last line of a flow: others send when they end.
    """
    return _SENDER.flush(max_seconds)


@dataclass(frozen=True, slots=True)
class _Pending:
    namespace: str
    datum: Datum


class _Sender:
    """The pending values, and the thread that sends them; the thread starts with the first value."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._pending: list[_Pending] = []
        self._logger: Logger | None = None
        self._thread: threading.Thread | None = None
        self._is_sending = False
        self._is_hurried = False
        self._warned: set[str] = set()
        self._client: Any = None
        self._has_boto3: bool | None = None

    def add(self, namespace: str, datum: Datum, logger: Logger) -> None:
        if self._has_boto3 is None:
            self._has_boto3 = find_spec("boto3") is not None
        if not self._has_boto3:
            self._warn("boto3", logger, f"Nothing is pushed to CloudWatch: boto3 is not installed. {AWS_EXTRA}")
            return
        with self._changed:
            self._logger = logger
            if len(self._pending) >= MAX_PENDING:
                self._warn("full", logger, f"CloudWatch is too slow: {MAX_PENDING:,} values wait, new ones are lost")
                return
            self._pending.append(_Pending(namespace, datum))
            if self._thread is None:
                # boto3 needs it, and it cannot be imported any more once the process is about to end.
                import concurrent.futures.thread  # noqa: F401

                self._thread = threading.Thread(target=self._run, name="cloudwatch", daemon=True)
                self._thread.start()
                # Unlike atexit's, it also runs in the children of multiprocessing.
                Finalize(None, self.flush, args=(MAX_EXIT_SECONDS,), exitpriority=10)
            if len(self._pending) in (1, MAX_DATA):
                self._changed.notify_all()

    def flush(self, max_seconds: float) -> bool:
        with self._changed:
            if self._thread is None:
                return True
            self._is_hurried = True
            self._changed.notify_all()
            is_done = self._changed.wait_for(lambda: not self._pending and not self._is_sending, max_seconds)
            self._is_hurried = False
            left = len(self._pending)
        if not is_done and self._logger is not None:
            self._logger.warning("CloudWatch did not accept everything within %g s: %d values left", max_seconds, left)
        return is_done

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pending)
                self._changed.wait_for(self._is_due, FLUSH_SECONDS)
                batch, self._pending = self._pending, []
                self._is_sending = True
            try:
                self._send(batch)
            finally:
                with self._changed:
                    self._is_sending = False
                    self._changed.notify_all()

    def _is_due(self) -> bool:
        return self._is_hurried or len(self._pending) >= MAX_DATA

    def _send(self, batch: list[_Pending]) -> None:
        logger = self._logger
        assert logger is not None  # noqa: S101 set with the first value
        try:
            client = self._client = self._client or make_client("cloudwatch")
        except Exception as error:  # noqa: BLE001 no region, a broken profile, …
            self._warn("client", logger, f"CloudWatch cannot be used: {cause(error)}")
            return
        for namespace in sorted({pending.namespace for pending in batch}):
            data = merge(pending.datum for pending in batch if pending.namespace == namespace)
            for parameters in requests(namespace, data):
                try:
                    client.put_metric_data(**parameters)
                except Exception as error:  # noqa: BLE001 any error of the network or AWS
                    fault = cause(error)
                    self._warn(fault, logger, f"CloudWatch refused {len(parameters['MetricData'])} metrics: {fault}")

    def _warn(self, fault: str, logger: Logger, message: str) -> None:
        if fault not in self._warned:
            self._warned.add(fault)
            logger.warning("%s", message)


def _after_fork() -> None:
    """A child has the parent's pending values but not its thread: it starts empty, and the parent sends its own."""
    global _SENDER  # noqa: PLW0603 one sender per process
    _SENDER = _Sender()


_SENDER = _Sender()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
