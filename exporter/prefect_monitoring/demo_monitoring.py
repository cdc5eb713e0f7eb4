"""Prometheus and Alertmanager for the demo, where they are installed: the shipped rules, routes and templates.

What Slack and PagerDuty would have got is shown by a stand-in.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from prefect_monitoring.demo_alerting import alertmanager_directory, local_config, write_local_secrets
from prefect_monitoring.demo_processes import Child, Launcher, join_address, start

WORKSPACE: Final = "demo"
_BINARIES: Final = {"prometheus": ("prometheus",), "alertmanager": ("prometheus-alertmanager", "alertmanager")}


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the servers are, HOST:PORT."""

    prometheus: str
    alertmanager: str
    inbox: str


def find_binaries() -> dict[str, str]:
    """The paths of the servers that are installed, by name."""
    found = {
        name: next((path for candidate in candidates if (path := shutil.which(candidate))), None)
        for name, candidates in _BINARIES.items()
    }
    return {name: path for name, path in found.items() if path}


def prometheus_directory() -> Path:
    """`prometheus.yml` and its rules: beside this file in a wheel, in prometheus/ in a checkout."""
    packaged = Path(__file__).parent / "prometheus"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "prometheus"


def local_prometheus_config(shipped: str, exporter: str, alertmanager: str, *, workspace: str) -> str:
    """The text of `prometheus.yml` with local addresses (HOST:PORT); intervals and rules stay what they are."""
    config: dict[str, Any] = yaml.safe_load(shipped)
    config["rule_files"] = [str(prometheus_directory() / pattern) for pattern in config["rule_files"]]
    config["alerting"]["alertmanagers"][0]["static_configs"] = [{"targets": [alertmanager]}]
    config["scrape_configs"][0]["static_configs"] = [{"targets": [exporter], "labels": {"workspace": workspace}}]
    return str(yaml.safe_dump(config, sort_keys=False))


def start_monitoring(
    launcher: Launcher, directory: Path, exporter: str, choose_port: Callable[[str, int], int]
) -> tuple[Addresses, list[Child]]:
    """Starts inbox, Alertmanager and Prometheus, which have to be installed; what they knew is thrown away."""
    binaries = find_binaries()
    host = "127.0.0.1"
    at = Addresses(
        prometheus=join_address(host, choose_port("Prometheus", 9090)),
        alertmanager=join_address(host, choose_port("Alertmanager", 9093)),
        inbox=join_address(host, choose_port("The inbox", 9099)),
    )
    home = directory / "monitoring"
    shutil.rmtree(home, ignore_errors=True)
    secrets = home / "secrets"
    secrets.mkdir(parents=True)
    shipped = (alertmanager_directory() / "alertmanager.yml").read_text(encoding="utf-8")
    write_local_secrets(shipped, f"http://{at.inbox}", secrets)
    routes, scrapes = home / "alertmanager.yml", home / "prometheus.yml"
    routes.write_text(local_config(shipped, f"http://{at.inbox}", secrets), encoding="utf-8")
    shipped = (prometheus_directory() / "prometheus.yml").read_text(encoding="utf-8")
    scrapes.write_text(local_prometheus_config(shipped, exporter, at.alertmanager, workspace=WORKSPACE), "utf-8")
    return at, [
        start(launcher, "inbox", ["-m", "prefect_monitoring.demo_inbox", "--listen", at.inbox]),
        start(
            launcher,
            "alertmanager",
            [
                f"--config.file={routes}",
                f"--storage.path={home / 'alertmanager'}",
                f"--web.listen-address={at.alertmanager}",
                f"--web.external-url=http://{at.alertmanager}",
                "--cluster.listen-address=",
            ],
            program=binaries["alertmanager"],
        ),
        start(
            launcher,
            "prometheus",
            [
                f"--config.file={scrapes}",
                f"--storage.tsdb.path={home / 'prometheus'}",
                f"--web.listen-address={at.prometheus}",
                f"--web.external-url=http://{at.prometheus}",
            ],
            program=binaries["prometheus"],
        ),
    ]
