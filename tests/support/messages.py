"""Messages as Slack, PagerDuty and Teams show them, and an alert with every possible annotation."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote, urlsplit

ORDERS = {
    "alertname": "PrefectRunFailed",
    "workspace": "production",
    "flow": "orders",
    "deployment": "nightly",
    "criticality": "critical",
    "severity": "critical",
    "team": "growth",
}
RUN = "http://prefect.test/runs/flow-run/0b1c"
ANNOTATIONS = {
    "summary": "orders/nightly: run failed, no retries left",
    "description": "Failed runs that are unresolved: 1.",
    "runbook_url": "https://runbooks.test/PrefectRunFailed.md",
    "dashboard_url": "http://grafana.test/d/prefect-flow?var-workspace=production&var-flow=orders&var-deployment=nightly",
    "run_url": RUN,
    "logs_url": f"{RUN}?tab=Logs",
    "run": "quick-otter",
    "error": "ValueError: no rows in *orders*",
    "state": "failed",
    "cause": "database: connection refused",
    "since": "2026-11-23 04:00:00 UTC",
    "occurrences": "3",
    "budget_left": "2 of 3 runs",
}


def attachment(message: dict[str, Any]) -> dict[str, Any]:
    assert message["kind"] in {"slack", "teams"}
    (only,) = message["body"]["attachments"]
    assert isinstance(only, dict)
    return only


def page(message: dict[str, Any]) -> dict[str, Any]:
    assert message["kind"] == "pagerduty"
    payload = message["body"]["payload"]
    assert isinstance(payload, dict)
    return payload


def buttons(message: dict[str, Any]) -> dict[str, str]:
    """The buttons that Slack shows: label to URL."""
    return {action["text"]: action["url"] for action in attachment(message)["actions"] if action.get("url")}


def links(message: dict[str, Any]) -> dict[str, str]:
    return {link["text"]: link["href"] for link in message["body"]["links"]}


def silence_filters(url: str) -> list[str]:
    """The matchers in `filter` of the link's fragment, decoded as Alertmanager's UI does."""
    fragment = urlsplit(url).fragment
    assert fragment.startswith("/silences/new?filter=")
    decoded = unquote(fragment.partition("filter=")[2])  # a + stays a +
    assert re.fullmatch(r'\{\w+=~?"[^"\\]*"(, \w+=~?"[^"\\]*")*\}', decoded), decoded
    return re.findall(r'\w+=~?"[^"]*"', decoded)
