"""`prefect-monitoring report`: the report from a ledger or a copy of one, printed or sent, without asking Prefect."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from prefect_monitoring.config.settings import Settings
from prefect_monitoring.ledger.errors import LedgerError
from prefect_monitoring.policy.pipelines_file import PipelinesError
from prefect_monitoring.report import slack
from prefect_monitoring.report.comparing import UnknownTeamError
from prefect_monitoring.report.formats import FORMATS
from prefect_monitoring.report.making import make_report
from prefect_monitoring.report.webhook import SlackError, post

MAX_DAYS: Final = 31


class ReportError(Exception):
    """There is no report, or it was not sent; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Choices:
    """`days` and `format` are None if they were not given."""

    days: int | None
    format: str | None
    team: str
    send: bool


async def report(settings: Settings, choices: Choices, now: float) -> str:
    """The text to print: the report, or that it was sent. Raises ReportError."""
    days = settings.report.report_days if choices.days is None else choices.days
    if not 1 <= days <= MAX_DAYS:
        raise ReportError(f"--days {days}: a report covers 1 to {MAX_DAYS} days")
    webhook = settings.report.report_slack_webhook_url.get_secret_value()
    if choices.send and not webhook:
        raise ReportError("--send needs report_slack_webhook_url: name a file with --report-slack-webhook-url-file")
    try:
        document = await asyncio.to_thread(make_report, settings, now, days, choices.team)
        if choices.send:
            await post(webhook, slack.render(document))
    except (LedgerError, PipelinesError, UnknownTeamError, SlackError) as fault:
        raise ReportError(str(fault)) from fault
    printed = choices.format or ("" if choices.send else "markdown")
    return FORMATS[printed](document) if printed else "Slack accepted the report.\n"
