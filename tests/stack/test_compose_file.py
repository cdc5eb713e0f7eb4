"""docker-compose.yml and its mounted files: restrictions of services, and consistent names."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import textwrap
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from stack.compose import OWN_IMAGE, ROOT, compose, configuration, services

DEMO = {"postgres", "prefect", "flows", "worker", "inbox"}
SERVICES = sorted(services())
each_service = pytest.mark.parametrize("name", SERVICES)


def load(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def port_of(service: str) -> int:
    return int(services()[service]["ports"][0]["target"])


def mounted(service: str, target: str) -> Path:
    """The path in the repository that is mounted at `target` in the service's container."""
    for mount in services()[service]["volumes"]:
        if mount["type"] == "bind" and Path(target).is_relative_to(mount["target"]):
            return Path(mount["source"]) / Path(target).relative_to(mount["target"])
    raise AssertionError(f"{target} is not mounted into {service}")


# --- every service -------------------------------------------------------------------------------------------------


@each_service
def test_service_has_no_rights_it_does_not_need(name: str) -> None:
    service = services()[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.get("privileged")
    assert not service.get("cap_add")


@each_service
def test_service_has_limits(name: str) -> None:
    service = services()[name]
    assert float(service["cpus"]) <= 2
    assert 64 <= int(service["mem_limit"]) / 2**20 <= 2048
    assert service["pids_limit"] > 0


@each_service
def test_service_has_a_health_check(name: str) -> None:
    check = services()[name]["healthcheck"]
    assert check == {"disable": True} if name == "flows" else check["test"][0] == "CMD"


@each_service
def test_image_is_pinned(name: str) -> None:
    image = services()[name]["image"]
    assert image == OWN_IMAGE or re.fullmatch(r"[a-z/]+:v?\d+\.\d+(\.\d+)?(-bookworm)?", image)


@each_service
def test_port_is_open_on_loopback_only(name: str) -> None:
    for port in services()[name].get("ports", []):
        assert port["host_ip"] == "127.0.0.1"
        assert int(port["published"]) == port["target"]


@each_service
def test_no_secret_is_in_the_environment(name: str) -> None:
    environment: dict[str, str] = services()[name].get("environment") or {}
    for variable, value in environment.items():
        assert not re.search(r"PASSWORD|SECRET|TOKEN|API_KEY|AUTH_STRING", variable) or variable.endswith("FILE")
        assert "@" not in value or urlsplit(value).password is None


@each_service
def test_mounted_files_exist_and_a_missing_file_is_an_error(name: str) -> None:
    for mount in services()[name].get("volumes", []):
        if mount["type"] == "bind":
            assert Path(mount["source"]).exists(), mount
            assert mount["read_only"] is True
            assert mount["bind"] == {"create_host_path": False}


def test_secrets_are_files() -> None:
    for secret in configuration()["secrets"].values():
        assert Path(secret["file"]).read_text().strip()
    assert {"/config/", ".env"} <= set((ROOT / ".gitignore").read_text().splitlines())


def test_services_outside_the_demo_do_not_require_it() -> None:
    assert {name for name, service in services().items() if service.get("profiles")} == DEMO
    for name in set(SERVICES) - DEMO:
        for other, how in services()[name].get("depends_on", {}).items():
            assert how["required"] is (other not in DEMO), (name, other)


def test_prometheus_starts_without_a_healthy_exporter() -> None:
    """Otherwise a failed first start would leave no Watchdog."""
    needed = {name for name, how in services()["prometheus"]["depends_on"].items() if how["required"]}
    assert needed == {"alertmanager"}


def test_only_the_demos_server_can_reach_its_database_without_a_password() -> None:
    assert configuration()["networks"]["database"]["internal"] is True
    inside = {name for name, service in services().items() if "database" in service["networks"]}
    assert inside == {"postgres", "prefect"}
    assert list(services()["postgres"]["networks"]) == ["database"]
    assert not services()["postgres"].get("ports")


# --- consistent files ----------------------------------------------------------------------------------------------


def test_prometheus_scrapes_services_at_their_ports() -> None:
    config = yaml.safe_load(mounted("prometheus", "/etc/prometheus/prometheus.yml").read_text())
    asked = [*config["scrape_configs"], *config["alerting"]["alertmanagers"]]
    targets = [target for job in asked for one in job.get("static_configs", ()) for target in one["targets"]]
    assert {target.partition(":")[0] for target in targets} == {"exporter", "prometheus", "alertmanager"}
    for target in targets:
        service, _, port = target.partition(":")
        assert port_of(service) == int(port)
        assert "default" in services()[service]["networks"]
    for pattern in config["rule_files"]:
        assert list(mounted("prometheus", "/etc/prometheus").glob(pattern))


def test_alertmanager_finds_its_secrets() -> None:
    text = mounted("alertmanager", "/etc/alertmanager/alertmanager.yml").read_text()
    named = set(re.findall(r"_file: (\S+)", text))
    given = {secret["target"] for secret in services()["alertmanager"]["secrets"]}
    # Examples to copy: no alert has the example team's label, and no route leads to Teams.
    assert {Path(one).name for one in named - given} == {"slack-url-example-team", "teams-url"}
    assert given <= named
    assert list(mounted("alertmanager", "/etc/alertmanager/templates").glob("*.tmpl"))


def test_demos_routes_are_the_shipped_ones() -> None:
    shipped, demo = ((ROOT / path / "alertmanager.yml").read_text() for path in ("alertmanager", "examples"))
    inbox = f"http://inbox:{port_of('inbox')}"
    expected = shipped.replace("https://events.pagerduty.com", f"{inbox}/pagerduty").replace(
        "https://dead-mans-switch.invalid/put-your-own-here", f"{inbox}/heartbeat"
    )
    assert demo.partition("\n")[2] == expected, "run: make docs"


def test_pinned_versions_are_those_in_the_docs() -> None:
    page = (ROOT / "docs/stack.md").read_text(encoding="utf-8")
    for name in ("exporter", "prometheus", "alertmanager", "grafana", "postgres"):
        assert services()[name]["image"] in page, name


# --- Grafana ---------------------------------------------------------------------------------------------------------


def test_grafanas_data_source_is_the_stacks_prometheus() -> None:
    provisioning = mounted("grafana", "/etc/grafana/provisioning")
    (file,) = (provisioning / "datasources").iterdir()
    config = yaml.safe_load(file.read_text())
    assert config["apiVersion"] == 1
    (source,) = config["datasources"]
    assert (source["uid"], source["type"], source["access"]) == ("prometheus", "prometheus", "proxy")
    assert source["isDefault"] is True
    assert source["url"] == f"http://prometheus:{port_of('prometheus')}"
    assert source["jsonData"]["timeInterval"] == load("prometheus/prometheus.yml")["global"]["scrape_interval"]


def test_grafana_finds_the_dashboards() -> None:
    (file,) = (mounted("grafana", "/etc/grafana/provisioning") / "dashboards").iterdir()
    config = yaml.safe_load(file.read_text())
    assert config["apiVersion"] == 1
    (provider,) = config["providers"]
    assert provider["type"] == "file"
    folder = mounted("grafana", provider["options"]["path"])
    uids = [json.loads(path.read_text())["uid"] for path in folder.glob("*.json")]
    assert len(uids) == len(set(uids))
    home = services()["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert mounted("grafana", home).exists()


def test_grafana_has_no_default_password() -> None:
    environment = services()["grafana"]["environment"]
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert not {name for name in environment if "PASSWORD" in name}


# --- your own stack ------------------------------------------------------------------------------------------------

RUNBOOKS = "https://git.example/runbooks"
ANSWERS = {
    "cloud": [
        "https://api.prefect.cloud/api/accounts/a/workspaces/b",
        "pnu_the-key",
        RUNBOOKS,
        "https://hooks.slack.com/s",
        "k1",
        "",
    ],
    "basic auth": ["http://prefect.example:4200/api", "user:word", RUNBOOKS, "https://hooks.slack.com/s", "k1", "k2"],
    "open server": ["http://prefect.example:4200/api", "", "", "", "", ""],
}
VARIABLES = {
    "cloud": "PREFECT_API_KEY_FILE",
    "basic auth": "PREFECT_API_AUTH_STRING_FILE",
    "open server": None,
}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in ("docker-compose.yml", ".env.example", "alertmanager", "prometheus", "grafana", "scripts", "examples"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    return tmp_path


def make_config(checkout: Path, answers: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "scripts/make_config.sh"],
        cwd=checkout,
        input="".join(f"{answer}\n" for answer in answers),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize("kind", ANSWERS)
def test_own_stack_is_configured_by_one_command(checkout: Path, kind: str) -> None:
    done = make_config(checkout, ANSWERS[kind])
    assert done.returncode == 0, done.stderr
    url, credentials, runbooks, slack, key, _ = ANSWERS[kind]
    for secret in filter(None, (credentials, slack, key)):
        assert secret not in done.stdout + done.stderr
    done = compose("config", "--format", "json", cwd=checkout)
    assert done.returncode == 0, done.stderr
    config = json.loads(done.stdout)
    assert config["name"] == "prefect-monitoring"
    assert set(config["services"]) == set(SERVICES) - DEMO
    environment = config["services"]["exporter"]["environment"]
    assert environment["PREFECT_API_URL"] == url
    assert environment["PREFECT_MONITORING_RUNBOOK_URL"] == (runbooks or "http://127.0.0.1:9877/runbooks")
    files = {name: value for name, value in environment.items() if name.endswith("_FILE")}
    assert files == ({VARIABLES[kind]: "/run/secrets/prefect-credentials"} if VARIABLES[kind] else {})
    assert (checkout / "config").stat().st_mode & 0o777 == 0o700
    for name, secret in config["secrets"].items():
        assert Path(secret["file"]).is_relative_to(checkout / "config/secrets"), name
        assert Path(secret["file"]).stat().st_mode & 0o777 == 0o644  # each container reads it as its own user
    assert (checkout / "config/secrets/slack-url").read_text() == f"{slack}\n"
    assert "config/secrets/" not in done.stderr or "is empty" in done.stderr


GUIDE = (ROOT / "docs/stack.md").read_text(encoding="utf-8")
OVERRIDES = [textwrap.dedent(block) for block in re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)]


@pytest.mark.parametrize("override", OVERRIDES, ids=lambda text: text.split()[1].rstrip(":"))
def test_override_of_the_guide_is_valid(checkout: Path, override: str) -> None:
    make_config(checkout, ANSWERS["cloud"])
    (checkout / "docker-compose.override.yml").write_text(override)
    done = compose("config", "--format", "json", cwd=checkout)
    assert done.returncode == 0, done.stderr
    for name, service in yaml.safe_load(override)["services"].items():
        merged = json.loads(done.stdout)["services"][name]
        assert merged["environment"].items() >= service["environment"].items() if "environment" in service else True
        assert len(merged["secrets"]) > len(services()[name].get("secrets", []))


def test_second_workspace_has_its_own_exporter(checkout: Path) -> None:
    page = (ROOT / "docs/workspaces.md").read_text(encoding="utf-8")
    (override,) = [block for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "!override" in block]
    make_config(checkout, ANSWERS["cloud"])
    (checkout / "docker-compose.override.yml").write_text(override)
    first_url, second_url = ANSWERS["cloud"][0], "http://other.example/api"
    options = (checkout / "config/exporter.env").read_text().replace(first_url, second_url)
    (checkout / "config/staging.env").write_text(options)
    (checkout / "config/secrets/prefect-credentials-staging").touch()
    done = compose("config", "--format", "json", cwd=checkout)
    assert done.returncode == 0, done.stderr
    first, second = (json.loads(done.stdout)["services"][name] for name in ("exporter", "exporter-staging"))
    assert (first["environment"].pop("PREFECT_API_URL"), second["environment"].pop("PREFECT_API_URL")) == (
        first_url,
        second_url,
    )
    for shared in ("environment", "image", "healthcheck", "cap_drop", "read_only", "mem_limit", "tmpfs"):
        assert first[shared] == second[shared], shared
    for own in ("ports", "volumes", "secrets"):
        assert first[own] != second[own], own
        assert len(first[own]) == len(second[own]), own
    (target,) = yaml.safe_load(re.search(r"echo '(\[.*\])'", page)[1])  # type: ignore[index]
    assert target == {"targets": ["exporter-staging:9877"], "labels": {"workspace": "staging"}}
    (scrape, *_) = yaml.safe_load((ROOT / "prometheus/prometheus.yml").read_text())["scrape_configs"]
    (files,) = [pattern for config in scrape["file_sd_configs"] for pattern in config["files"]]
    assert f">prometheus/{files.replace('*', 'staging')}" in page


def test_making_the_config_again_keeps_existing_files(checkout: Path) -> None:
    make_config(checkout, ANSWERS["cloud"])
    (checkout / "config/pipelines.yml").write_text("pipelines: [] # mine\n")
    before = {path: path.read_bytes() for path in (checkout / "config").rglob("*") if path.is_file()}
    assert make_config(checkout, []).returncode == 0
    assert {path: path.read_bytes() for path in (checkout / "config").rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("url", ["", "prefect.example:4200", "http://127.0.0.1:4200/api", "http://localhost:4200/api"])
def test_address_that_cannot_work_is_refused_with_a_reason(checkout: Path, url: str) -> None:
    done = make_config(checkout, [url])
    assert done.returncode == 1
    assert ("host.docker.internal" if "//" in url else "http://") in done.stderr
    assert not (checkout / "config/exporter.env").exists()


def test_question_is_repeated_after_a_bad_answer(checkout: Path) -> None:
    url, credentials, runbooks, slack, key, escalation = ANSWERS["basic auth"]
    bad = ["prefect.example", url, "the-password", credentials, "git.example", runbooks, "hooks.slack.com/s", slack]
    done = make_config(checkout, [*bad, key, escalation])
    assert done.returncode == 0, done.stderr
    written = {path.name: path.read_text() for path in (checkout / "config").rglob("*") if path.is_file()}
    assert f"PREFECT_API_URL={url}\n" in written["exporter.env"]
    assert f"PREFECT_MONITORING_RUNBOOK_URL={runbooks}\n" in written["exporter.env"]
    secrets = ("prefect-credentials", "slack-url", "pagerduty-key", "pagerduty-escalation-key")
    assert [written[name].strip() for name in secrets] == [credentials, slack, key, escalation]
    assert "the-password" not in done.stdout + done.stderr
