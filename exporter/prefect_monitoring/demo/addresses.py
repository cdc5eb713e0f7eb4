"""Links to the installed Prometheus and Alertmanager, or commands if they have no web UI."""

from __future__ import annotations

from typing import Final

import httpx

from prefect_monitoring.demo.monitoring import Addresses
from prefect_monitoring.demo.prefect_server import wait_until_up

_UP_SECONDS: Final = 60
# Debian packages Prometheus with only the classic web UI, and Alertmanager without one.
_ALERT_PAGES: Final = ("/alerts", "/classic/alerts")
_NO_UI: Final = "Debian package"


def monitoring_hint(at: Addresses, prometheus: httpx.Client, alertmanager: httpx.Client) -> str:
    """Lines with the addresses; the clients' base addresses are those of the two servers."""
    wait_until_up(prometheus, "/-/ready", seconds=_UP_SECONDS)
    wait_until_up(alertmanager, "/-/ready", seconds=_UP_SECONDS)
    path = next((path for path in _ALERT_PAGES if prometheus.get(path).is_success), "")
    lines = [f"Prometheus  http://{at.prometheus}{path}"]
    if _NO_UI in alertmanager.get("/").text:
        amtool = f"amtool --alertmanager.url=http://{at.alertmanager}"
        lines += [
            "Alerts      this Alertmanager has no web UI, so Silence buttons do not work; instead:",
            f"              {amtool} alert query",
            f"              {amtool} silence add flow=legacy-ftp-import --duration=1h --comment=demo",
        ]
    else:
        lines.append(f"Alerts      http://{at.alertmanager}/#/alerts")
    return "\n".join([*lines, f"Messages    http://{at.inbox}"])
