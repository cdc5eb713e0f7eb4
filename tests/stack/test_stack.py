"""The running stack of docker-compose.yml: all services except Grafana, with their names and ports.

No container engine is used: stack/engine.py starts each service as Compose would.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest

from stack.compose import ROOT, configuration, services
from stack.engine import Engine, unavailable
from support.processes import wait_until

START_SECONDS = 180

pytestmark = [
    pytest.mark.skipif(bool(unavailable()), reason=f"docker-compose.yml is not started: {unavailable()}"),
]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    engine = Engine(tmp_path_factory.mktemp("stack"), services(), configuration()["secrets"])
    try:
        engine.up(START_SECONDS)
        yield engine
    finally:
        engine.down()


def prometheus(stack: Engine, path: str) -> Any:
    return stack.request("GET", "prometheus", f"/api/v1/{path}").json()["data"]


def value(stack: Engine, expression: str) -> float:
    """The sum of the query's series; 0 without series."""
    found = stack.request("GET", "prometheus", "/api/v1/query", params={"query": expression}).json()["data"]["result"]
    return sum(float(sample["value"][1]) for sample in found)


def guide_command(service: str, words: str) -> list[str]:
    """The command of docs/stack.md with `docker compose exec` that contains `words`."""
    text = (ROOT / "docs/stack.md").read_text(encoding="utf-8").replace("\\\n", " ")
    commands = re.findall(rf"docker compose exec {service} (.+)", text)
    return shlex.split(next(command for command in commands if words in command))


def messages(stack: Engine, kind: str) -> list[dict[str, Any]]:
    return [message for message in stack.request("GET", "inbox", "/messages").json() if message["kind"] == kind]


def test_every_health_check_succeeds(stack: Engine) -> None:
    for container in stack.containers.values():
        if container.name not in {"flows", "grafana"}:
            assert container.probe(), f"{container.name}: {container.probe_output}"


def test_services_write_only_where_they_may(stack: Engine) -> None:
    """Also checks Prefect's pages, because Prefect starts without them."""
    for container in stack.containers.values():
        output = container.process.output()
        assert "Read-only file system" not in output, f"{container.name}:\n{output}"
        assert "Permission denied" not in output, f"{container.name}:\n{output}"
    assert stack.request("GET", "prefect", "/", follow_redirects=True).headers["Content-Type"].startswith("text/html")
    settings = stack.request("GET", "prefect", "/ui-settings").json()
    assert settings["api_url"] == "http://127.0.0.1:4200/api"


def test_prometheus_reaches_its_targets_by_name(stack: Engine) -> None:
    def targets() -> dict[str, str]:
        return {target["scrapeUrl"]: target["health"] for target in prometheus(stack, "targets")["activeTargets"]}

    wait_until(lambda: set(targets().values()) == {"up"}, 40, "targets that are up", every=0.5)
    assert set(targets()) == {
        f"http://{name}/metrics" for name in ("exporter:9877", "prometheus:9090", "alertmanager:9093")
    }


def test_prometheus_loads_rules_and_finds_alertmanager(stack: Engine) -> None:
    groups = prometheus(stack, "rules")["groups"]
    assert "PrefectRunFailed" in {rule["name"] for group in groups for rule in group["rules"]}
    wait_until(
        lambda: (
            [alertmanager["url"] for alertmanager in prometheus(stack, "alertmanagers")["activeAlertmanagers"]]
            == ["http://alertmanager:9093/api/v2/alerts"]
        ),
        60,
        "an Alertmanager",
    )


def test_alert_reaches_slack_and_pagerduty(stack: Engine) -> None:
    """With the contents of the secret files: the webhook of a channel, the key of a service."""
    done = stack.containers["alertmanager"].run(guide_command("alertmanager", "alert add"))
    assert done.returncode == 0, done.stderr
    try:
        wait_until(lambda: messages(stack, "slack") and messages(stack, "pagerduty"), 60, "messages", every=0.2)
    except TimeoutError:
        pytest.fail(
            f"no messages; output of Alertmanager:\n{stack.containers['alertmanager'].process.output()[-3000:]}"
        )
    assert "This is a drill" in json.dumps(messages(stack, "slack")[0]["body"])
    assert messages(stack, "slack")[0]["channel"] == "#data-alerts"
    assert messages(stack, "pagerduty")[0]["channel"] == "pagerduty-key"


def test_grafana_reaches_its_data_source_and_reads_its_files(stack: Engine) -> None:
    grafana = stack.containers["grafana"]
    assert grafana.run(["wget", "-q", "-O", "-", "http://prometheus:9090/-/ready"]).returncode == 0
    for folder in ("provisioning/datasources", "provisioning/dashboards", "dashboards"):
        assert grafana.run(["find", f"/etc/grafana/{folder}", "-readable", "-type", "f"]).stdout, folder
    assert grafana.run(["touch", "/var/lib/grafana/grafana.db"]).returncode == 0


def test_exporter_keeps_only_the_ledger(stack: Engine) -> None:
    exporter = stack.containers["exporter"]
    assert "ledger.db" in exporter.run(["ls", "/var/lib/prefect-monitoring"]).stdout
    assert "Read-only file system" in exporter.run(["touch", "/opt/x", "/etc/x", "/x"]).stderr
    assert exporter.run(["id", "-u"]).stdout == "10001\n"
    status = exporter.run(["cat", "/proc/self/status"]).stdout
    assert "CapBnd:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status


def test_ledger_can_be_backed_up_while_it_is_in_use(stack: Engine) -> None:
    exporter = stack.containers["exporter"]
    done = exporter.run(guide_command("exporter", "VACUUM INTO"))
    assert done.returncode == 0, done.stderr
    assert int(exporter.run(["stat", "--format=%s", "/var/lib/prefect-monitoring/backup.db"]).stdout) > 10_000
    assert exporter.run(guide_command("exporter", "rm ")).returncode == 0


def test_names_of_other_networks_do_not_resolve(stack: Engine) -> None:
    assert stack.containers["prefect"].run(["getent", "hosts", "postgres"]).returncode == 0
    assert stack.containers["exporter"].run(["getent", "hosts", "postgres"]).returncode != 0


def test_flow_failing_in_the_worker_is_counted(stack: Engine) -> None:
    # A gauge, because a counter holds its first increment back for a while.
    failed = 'prefect_flow_run_consecutive_failures{workspace="production",flow="legacy-ftp-import"}'
    wait_until(lambda: value(stack, failed) >= 1, 90, "a failed run", every=0.5)
