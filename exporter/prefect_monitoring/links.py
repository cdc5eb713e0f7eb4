"""Where people open things: what messages and dashboards link to."""

from __future__ import annotations

import httpx
from prefect.settings import PREFECT_UI_URL

from prefect_monitoring.settings import Settings
from prefect_monitoring.snapshot import Links


def find_links(settings: Settings) -> Links:
    """Prefect's address is the setting's, else what Prefect itself takes it for; never with credentials."""
    return Links(settings.prefect_ui_url or _prefect_ui(), settings.grafana_url, settings.runbook_url)


def _prefect_ui() -> str:
    try:
        url = httpx.URL(PREFECT_UI_URL.value() or "")
    except httpx.InvalidURL:
        return ""
    return str(url.copy_with(userinfo=b"")).rstrip("/") if url.scheme in {"http", "https"} and url.host else ""
