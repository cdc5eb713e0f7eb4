"""Where people open things: what messages and dashboards link to."""

from __future__ import annotations

from prefect.settings import PREFECT_UI_URL

from prefect_monitoring.config.settings import Settings
from prefect_monitoring.prefect_api.address import public_address
from prefect_monitoring.snapshot import Links


def find_links(settings: Settings) -> Links:
    """Prefect's address is the setting's, else what Prefect itself takes it for; never with credentials."""
    prefect = settings.prefect_ui_url or public_address(PREFECT_UI_URL.value() or "")
    return Links(prefect, settings.grafana_url, settings.runbook_url)
