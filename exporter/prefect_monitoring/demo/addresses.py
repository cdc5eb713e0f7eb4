"""Links into the Prometheus and the Alertmanager that are installed; commands, where these have no pages."""

from __future__ import annotations

from typing import Final

import httpx

from prefect_monitoring.demo.monitoring import Addresses
from prefect_monitoring.demo.prefect_server import wait_until_up

_UP_SECONDS: Final = 60
# Debian packages Prometheus with the pages of version 1 alone, and Alertmanager without any.
_ALERT_PAGES: Final = ("/alerts", "/classic/alerts")
_NO_PAGES: Final = "Debian package"


def monitoring_hint(at: Addresses, prometheus: httpx.Client, alertmanager: httpx.Client) -> str:
    """Lines with the addresses; the clients' base addresses are those of the two servers."""
    wait_until_up(prometheus, "/-/ready", seconds=_UP_SECONDS)
    wait_until_up(alertmanager, "/-/ready", seconds=_UP_SECONDS)
    path = next((path for path in _ALERT_PAGES if prometheus.get(path).is_success), "")
    lines = [f"Prometheus  http://{at.prometheus}{path}"]
    if _NO_PAGES in alertmanager.get("/").text:
        amtool = f"amtool --alertmanager.url=http://{at.alertmanager}"
        lines += [
            "Alerts      this Alertmanager has no pages, so Silence buttons lead nowhere; instead:",
            f"              {amtool} alert query",
            f"              {amtool} silence add flow=legacy-ftp-import --duration=1h --comment=demo",
        ]
    else:
        lines.append(f"Alerts      http://{at.alertmanager}/#/alerts")
    return "\n".join([*lines, f"Messages    http://{at.inbox}"])
