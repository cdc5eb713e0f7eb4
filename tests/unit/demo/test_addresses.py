"""What the demo prints about its servers fits what is installed."""

from __future__ import annotations

from collections.abc import Mapping

import httpx
import pytest
import yaml

from prefect_monitoring.config.shipped import shipped
from prefect_monitoring.demo.addresses import monitoring_hint
from prefect_monitoring.demo.inbox_page import WORKING_HOURS
from prefect_monitoring.demo.monitoring import Addresses

AT = Addresses("127.0.0.1:9090", "127.0.0.1:9093", "127.0.0.1:9099")
DEBIAN = "<p>The Debian package of the alertmanager does not contain the web interface</p>"


def server(pages: Mapping[str, str]) -> httpx.Client:
    known = {"/-/ready": "ready", **pages}

    def answer(request: httpx.Request) -> httpx.Response:
        text = known.get(request.url.path)
        return httpx.Response(404 if text is None else 200, text=text or "")

    return httpx.Client(transport=httpx.MockTransport(answer), base_url="http://server.test")


@pytest.mark.parametrize("page", ["/alerts", "/classic/alerts"])
def test_prometheus_is_linked_at_its_alerts_page(page: str) -> None:
    hint = monitoring_hint(AT, server({page: "…"}), server({"/": "<script src=script.js>"}))
    assert hint.splitlines() == [
        f"Prometheus  http://127.0.0.1:9090{page}",
        "Alerts      http://127.0.0.1:9093/#/alerts",
        "Messages    http://127.0.0.1:9099",
    ]


def test_alertmanager_without_ui_gets_amtool_commands() -> None:
    hint = monitoring_hint(AT, server({"/alerts": "…"}), server({"/": DEBIAN}))
    assert "http://127.0.0.1:9093/#/alerts" not in hint
    assert "amtool --alertmanager.url=http://127.0.0.1:9093 alert query" in hint


def test_working_hours_match_the_alertmanager_routes() -> None:
    (interval,) = yaml.safe_load(shipped("alertmanager/alertmanager.yml").read_text())["time_intervals"]
    weekend, before, after = interval["time_intervals"]
    assert weekend["weekdays"] == ["saturday", "sunday"]
    assert f"{before['times'][0]['end_time']} to {after['times'][0]['start_time']} UTC" in WORKING_HOURS
    assert "Monday to Friday" in WORKING_HOURS
