"""The report from a ledger, in one step."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from prefect_monitoring.config.settings import Settings
from prefect_monitoring.report.comparing import figures_of
from prefect_monitoring.report.document import Document
from prefect_monitoring.report.facts import read_facts
from prefect_monitoring.report.writing import document_of


def make_report(settings: Settings, now: float, days: int, team: str = "") -> Document:
    """The report of the last `days` days. Raises LedgerError; PipelinesError; UnknownTeamError."""
    figures = figures_of(read_facts(settings, now, days), team)
    return document_of(figures, ZoneInfo(settings.report.report_time_zone))
