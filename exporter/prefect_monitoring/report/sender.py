"""Sends the report to Slack on its schedule, each once: the ledger remembers for which time the last one was sent."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, replace
from typing import Any, Final

from prefect_monitoring.config.settings import ReportSettings, Settings, SettingsError
from prefect_monitoring.ingest.flow_runs import Reader
from prefect_monitoring.ledger.errors import LedgerError
from prefect_monitoring.ledger.ledger import Ledger
from prefect_monitoring.ledger.sink_rows import read_sink, write_sink
from prefect_monitoring.model.sink_status import SinkError, SinkStatus
from prefect_monitoring.report import slack
from prefect_monitoring.report.making import make_report
from prefect_monitoring.report.webhook import SlackError, post
from prefect_monitoring.runtime.scheduler import Cron, Job, latest_time

log = logging.getLogger(__name__)

SINK: Final = "report"
CATCH_UP_SECONDS: Final = 15.0
FIRST_RETRY_SECONDS: Final = 60.0
LAST_RETRY_SECONDS: Final = 3600.0

Post = Callable[[str, Mapping[str, Any]], Awaitable[None]]
InLedger = Callable[..., Awaitable[Any]]
"""Calls a function on the ledger's thread."""


class ReportSender:
    """Sends a due report, after a restart too, once every run that ended by then is counted.

    Without an earlier report, or after a change of the schedule, the next time is the first. A failed delivery is
    retried at growing intervals until the next report replaces it. Only a crash, or a lost answer, during the request
    itself can send a report twice.
    """

    def __init__(
        self,
        settings: Settings,
        cron: Cron,
        ledger: Ledger,
        in_ledger: InLedger,
        send: Post = post,
        clock: Callable[[], float] = time.time,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        options = settings.report
        self._cron = cron
        self._days = options.report_days
        self._webhook = options.report_slack_webhook_url.get_secret_value()
        # The exporter keeps the last good pipelines file in the ledger: a broken one does not delay reports.
        self._settings = settings.model_copy(update={"policy": settings.policy.model_copy(update={"pipelines": ""})})
        self._ledger, self._in_ledger = ledger, in_ledger
        self._send, self._clock, self._pause = send, clock, pause
        self._sent_for = 0.0  # also if the ledger could not be written
        self.status = SinkStatus(SINK)

    def job(self) -> Job:
        """Runs at the times of the schedule, and at the start for a report that was due in the meantime."""
        return Job("report", self._cron, self.send_due, at_start=True)

    async def send_due(self) -> None:
        """Sends reports until none is due any more."""
        pause = FIRST_RETRY_SECONDS
        while (due := await self._due()) is not None:
            if not self._is_counted(due):
                await self._pause(CATCH_UP_SECONDS)
            elif not await self._deliver(due):
                await self._pause(pause)
                pause = min(2 * pause, LAST_RETRY_SECONDS)

    async def _due(self) -> float | None:
        """The latest time for which no report was sent."""
        now = self._clock()
        try:
            stored = await self._in_ledger(self._remembered)
            if stored.get("schedule") != asdict(self._cron):
                await self._in_ledger(self._remember, {"schedule": asdict(self._cron), "sent_for": now}, now)
                return None
        except LedgerError as fault:
            log.warning("Cannot tell whether a report is due: %s", fault)
            return None
        since = max(float(stored["sent_for"]), self._sent_for)
        due = await asyncio.to_thread(latest_time, self._cron, since, now)
        self.status = replace(self.status, last_success=stored.get("sent_at"), waiting_since=due)
        return due

    def _is_counted(self, due: float) -> bool:
        """Whether every run that ended by then is in the ledger."""
        cursor = self._ledger.cursor
        return cursor.baseline_complete and cursor.watermark >= due

    async def _deliver(self, due: float) -> bool:
        """Whether Slack accepted the report."""
        try:
            document = await asyncio.to_thread(make_report, self._settings, self._clock(), self._days)
            await self._send(self._webhook, slack.render(document))
        except SlackError as fault:
            return self._failed(fault.reason, str(fault))
        except LedgerError as fault:
            return self._failed(SinkError.INTERNAL, str(fault))
        except Exception:
            log.exception("The report could not be made")
            return self._failed(SinkError.INTERNAL, "an unexpected error")
        self._sent_for, sent_at = due, self._clock()
        self.status = self.status.succeeded(sent_at, None)
        log.info("The report was sent to Slack")
        try:
            await self._in_ledger(self._remember, {"sent_for": due, "sent_at": sent_at}, sent_at)
        except LedgerError as fault:
            log.warning("The report was sent, but a restart would send it again, since the ledger failed: %s", fault)
        return True

    def _failed(self, reason: SinkError, text: str) -> bool:
        self.status = self.status.failed(reason)
        log.warning("The report was not sent, and will be tried again: %s", text)
        return False

    def _remembered(self) -> dict[str, Any]:
        with self._ledger.transaction() as connection:
            return read_sink(connection, SINK)

    def _remember(self, values: Mapping[str, Any], now: float) -> None:
        with self._ledger.transaction() as connection:
            write_sink(connection, SINK, values, now)


def open_sender(settings: Settings, reader: Reader) -> ReportSender | None:
    """The sender of the schedule in the settings, into the reader's ledger; None without a schedule."""
    cron = checked_schedule(settings.report)
    return ReportSender(settings, cron, reader.ledger, reader.in_ledger) if cron is not None else None


def checked_schedule(settings: ReportSettings) -> Cron | None:
    """When reports are sent; None for never. Raises SettingsError for an invalid schedule."""
    if not settings.report_schedule:
        return None
    cron = Cron(settings.report_schedule, settings.report_time_zone)
    try:
        latest_time(cron, 0.0, 0.0)
    except ValueError as fault:
        expression = settings.report_schedule
        raise SettingsError(f"report_schedule: {expression!r} is invalid ({fault}); example: 0 8 * * mon") from None
    return cron
