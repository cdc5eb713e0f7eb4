"""The profile archive of docker-compose.yml: the same restrictions as other services, and existing options."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest
import yaml

from prefect_monitoring.cli import make_parser
from prefect_monitoring.config.loading import load_settings
from stack.compose import ROOT, compose, own_image


@pytest.fixture(scope="module")
def service() -> dict[str, Any]:
    done = compose("--env-file", "/dev/null", "--profile", "archive", "config", "--format", "json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)["services"]["archive"]
    return found


def test_archive_has_no_rights_that_it_does_not_need_and_limits(service: dict[str, Any]) -> None:
    assert service["read_only"] is True
    assert (service["cap_drop"], service["security_opt"]) == (["ALL"], ["no-new-privileges:true"])
    assert float(service["cpus"]) <= 2
    assert 256 <= int(service["mem_limit"]) / 2**20 <= 1024
    (port,) = service["ports"]
    assert (port["host_ip"], port["target"]) == ("127.0.0.1", 9878)


def test_archive_runs_with_options_and_extras_that_exist(service: dict[str, Any]) -> None:
    assert make_parser().parse_args(service["command"])
    assert make_parser().parse_args(service["healthcheck"]["test"][2:])
    ours = {name: value for name, value in service["environment"].items() if name.startswith("PREFECT_MONITORING_")}
    settings = load_settings(
        {}, {name: value for name, value in ours.items() if name != "PREFECT_MONITORING_PIPELINES"}
    )
    assert settings.archive.archive_to == "file:///var/lib/prefect-archive"
    assert settings.archive.archive_listen.endswith(":9878")
    extras = service["build"]["args"]["EXTRAS"].strip(",").split(",")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(extras) <= project["optional-dependencies"].keys()


def test_archive_writes_only_where_volumes_are(service: dict[str, Any]) -> None:
    dockerfile = (ROOT / "exporter/Dockerfile").read_text(encoding="utf-8")
    volumes = {mount["target"] for mount in service["volumes"] if mount["type"] == "volume"}
    assert service["environment"]["TMPDIR"] in volumes
    for folder in volumes:
        assert f" {folder}" in dockerfile, "created with its owner, which a new volume inherits"
    assert own_image().user == "10001:10001"


def test_prometheus_scrapes_the_archive_as_soon_as_it_runs_under_the_exporters_workspace(
    service: dict[str, Any],
) -> None:
    config = yaml.safe_load((ROOT / "prometheus/prometheus.yml").read_text(encoding="utf-8"))
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    (lookup,) = jobs["prefect-archive"]["dns_sd_configs"]
    labels = {rule["target_label"]: rule["replacement"] for rule in jobs["prefect-archive"]["relabel_configs"]}
    (exporter,) = jobs["prefect-monitoring"]["static_configs"]
    assert lookup == {"names": ["archive."], "type": "A", "port": service["ports"][0]["target"]}
    assert labels == {"instance": "archive:9878", "workspace": exporter["labels"]["workspace"]}
    assert "default" in service["networks"]
