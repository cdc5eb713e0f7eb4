"""Prometheus and Alertmanager for the demo, if they are installed: the shipped rules, routes and templates.

A stand-in shows what Slack and PagerDuty would have received.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from prefect_monitoring.config.shipped import shipped
from prefect_monitoring.demo.alerting import local_config, write_local_secrets
from prefect_monitoring.demo.processes import Child, Launcher, join_address, start

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
    paths = {
        name: next((path for candidate in candidates if (path := shutil.which(candidate))), None)
        for name, candidates in _BINARIES.items()
    }
    return {name: path for name, path in paths.items() if path}


def local_prometheus_config(text: str, exporter: str, alertmanager: str, *, workspace: str) -> str:
    """`text`, the shipped `prometheus.yml`, with local addresses (HOST:PORT); intervals and rules stay the same.

    Only the exporter is scraped: the first job.
    """
    config: dict[str, Any] = yaml.safe_load(text)
    config["rule_files"] = [str(shipped("prometheus") / pattern) for pattern in config["rule_files"]]
    config["alerting"]["alertmanagers"][0]["static_configs"] = [{"targets": [alertmanager]}]
    del config["scrape_configs"][1:]
    config["scrape_configs"][0]["static_configs"] = [{"targets": [exporter], "labels": {"workspace": workspace}}]
    return str(yaml.safe_dump(config, sort_keys=False))


def start_monitoring(
    launcher: Launcher, directory: Path, exporter: str, choose_port: Callable[[str, int], int]
) -> tuple[Addresses, list[Child]]:
    """Starts inbox, Alertmanager and Prometheus, which have to be installed; their former data is deleted."""
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
    text = shipped("alertmanager/alertmanager.yml").read_text(encoding="utf-8")
    write_local_secrets(text, f"http://{at.inbox}", secrets)
    routes, scrapes = home / "alertmanager.yml", home / "prometheus.yml"
    routes.write_text(local_config(text, f"http://{at.inbox}", secrets), encoding="utf-8")
    text = shipped("prometheus/prometheus.yml").read_text(encoding="utf-8")
    scrapes.write_text(local_prometheus_config(text, exporter, at.alertmanager, workspace=WORKSPACE), "utf-8")
    return at, [
        start(launcher, "inbox", ["-m", "prefect_monitoring.demo.inbox", "--listen", at.inbox]),
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
