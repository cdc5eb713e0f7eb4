"""Fixtures: a ledger with a past, and the settings of a report about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from prefect_monitoring.config.settings import Settings
from support.options import settings_with
from unit.ledger_values import NOW
from unit.report_ledgers import Past
from unit.rig import DAY, OpenLedger


@pytest.fixture
def past(open_it: OpenLedger) -> Past:
    """The past of a ledger that is 40 days old, enough for all comparisons of a weekly report."""
    return Past(open_it(now=NOW - 40 * DAY), NOW)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_with(ledger_url=f"sqlite:///{tmp_path}/ledger.db")
