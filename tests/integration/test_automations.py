"""Prefect automations from the pipelines file: created, updated, destroyed, exported, and their effect on runs."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from prefect_monitoring.cli import main
from prefect_monitoring.cli.parser import FAULT
from support.alertmanager import Inbox, start_inbox
from support.prefect_server import PrefectServer, env_for
from support.processes import wait_until
from support.proxy import FaultProxy
from support.seeder import Seeder

ACTS_SECONDS = 60.0  # from an event to the action of its automation: 1 s when idle


@dataclass
class Site:
    """A flow `etl` with two deployments, a flow `refresh` with one, and a pipelines file for them."""

    seeder: Seeder
    prefix: str
    file: Path
    proxy: FaultProxy
    capture: pytest.CaptureFixture[str]
    ids: dict[str, str] = field(default_factory=dict)

    def declare(self, text: str) -> None:
        """`~` stands for the prefix of this test's names."""
        self.file.write_text(text.replace("~", self.prefix))

    def run(self, step: str, *flags: str, installation: str = "prod") -> tuple[int, str]:
        """The exit code and what was printed."""
        self.capture.readouterr()
        options = ["--pipelines", str(self.file), "--installation", f"{self.prefix}{installation}"]
        with temporary_settings({PREFECT_API_URL: self.proxy.url}):
            code = main(["automations", step, *options, *flags])
        printed = self.capture.readouterr()
        return code, printed.out + printed.err

    def finish(self, step: str, installation: str = "prod") -> str:
        """Runs the command again where it says so: a write to a locked SQLite is answered with 503."""
        outputs: list[str] = []

        def is_done() -> bool:
            code, text = self.run(step, "--yes", installation=installation)
            outputs.append(text)
            assert code == 0 or "run the command again for the rest" in text, text
            return code == 0

        wait_until(is_done, 60, f"all that {step} has to do")
        return "".join(outputs)

    def apply(self, installation: str = "prod") -> str:
        return self.finish("apply", installation)

    def automations(self, installation: str = "") -> list[dict[str, Any]]:
        """The automations of this test's installations, by name."""
        existing = self.seeder.call("POST", "/automations/filter", {"sort": "NAME_ASC", "limit": 200})
        return [automation for automation in existing if f" {self.prefix}{installation}" in automation["name"]]

    def writes(self) -> list[str]:
        """The methods of all requests that may have changed something."""
        reads = ("/filter", "/count", "/csrf-token")
        asked = (path.partition(" ")[::2] for path in self.proxy.paths())
        return [method for method, path in asked if method != "GET" and not path.endswith(reads)]

    def block(self, slug: str, name: str, data: dict[str, Any]) -> None:
        kind = self.seeder.call("GET", f"/block_types/slug/{slug}")["id"]
        criteria = {"block_schemas": {"block_type_id": {"any_": [kind]}}}
        schema = self.seeder.call("POST", "/block_schemas/filter", criteria)[0]["id"]
        body = {"name": f"{self.prefix}{name}", "data": data, "block_type_id": kind, "block_schema_id": schema}
        self.seeder.call("POST", "/block_documents/", body)

    def fail(self, deployment: str) -> str:
        run = self.seeder.run(self.ids["etl"], deployment_id=self.ids[deployment])
        self.seeder.failed(run)
        return run

    def complete(self, deployment: str) -> None:
        self.seeder.completed(self.seeder.run(self.ids["etl"], deployment_id=self.ids[deployment]))

    def paused(self, deployment: str) -> bool:
        return bool(self.seeder.call("GET", f"/deployments/{self.ids[deployment]}")["paused"])


@pytest.fixture
def site(
    server: PrefectServer,
    seeder: Seeder,
    unique: str,
    proxy: FaultProxy,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Site]:
    made = Site(seeder, unique, tmp_path / "pipelines.yml", proxy, capsys)
    for flow, deployments in {"etl": ("daily", "hourly"), "refresh": ("prod",)}.items():
        made.ids[flow] = seeder.flow(f"{unique}{flow}")
        made.ids |= {name: seeder.deployment(made.ids[flow], name) for name in deployments}
    yield made
    for automation in made.automations():
        seeder.call("DELETE", f"/automations/{automation['id']}")


PAUSES = """
pipelines:
  - flow: ~etl
    deployment: daily
    on_failure: {pause: [~refresh/prod], resume_on_success: true, by: prefect}
  - flow: ~etl
    cancel: {when: late}
"""


def test_apply_creates_the_planned_automations_once(site: Site) -> None:
    site.declare(PAUSES)
    code, text = site.run("plan", "--detailed-exitcode")
    assert code == 2
    assert "3 to create, 0 to change, 0 to destroy; 0 unchanged" in text
    assert (site.automations(), site.writes()) == ([], [])

    site.apply()
    assert [automation["name"].partition(": ")[2].replace(site.prefix, "") for automation in site.automations()] == [
        "cancel late runs",
        "pause refresh/prod",
        "resume refresh/prod",
    ]
    assert site.writes() == ["POST"] * 3

    assert "Nothing to change; 3 unchanged" in site.apply()
    assert site.run("plan", "--detailed-exitcode")[0] == 0
    assert site.writes() == ["POST"] * 3, "unchanged automations are not written again"


def test_drift_is_shown_and_repaired(site: Site) -> None:
    site.declare(PAUSES)
    site.apply()
    cancel, pause, resume = site.automations()
    edited = {key: pause[key] for key in ("name", "description", "enabled", "trigger", "actions")}
    edited["tags"], edited["enabled"] = [], False
    edited["trigger"] = {**pause["trigger"], "threshold": 9}
    site.seeder.call("PUT", f"/automations/{pause['id']}", edited)
    renamed = {**edited, "name": f"{cancel['name']} (mine)", "trigger": cancel["trigger"], "actions": cancel["actions"]}
    site.seeder.call("PUT", f"/automations/{cancel['id']}", renamed)
    site.seeder.call("DELETE", f"/automations/{resume['id']}")

    _, text = site.run("plan")
    assert "trigger.threshold: 9 → 1" in text
    assert f"- destroy  {cancel['name']} (mine)" in text, "its owner is known after it is renamed"
    assert f"{pause['name']} is paused in Prefect, and stays so" in text

    site.apply()
    repaired = {automation["name"]: automation for automation in site.automations()}
    assert repaired.keys() == {cancel["name"], pause["name"], resume["name"]}
    assert (repaired[pause["name"]]["id"], repaired[pause["name"]]["enabled"]) == (pause["id"], False)
    assert repaired[pause["name"]]["tags"] == pause["tags"]
    assert repaired[pause["name"]]["trigger"]["threshold"] == 1
    assert "Nothing to change" in site.apply()


def test_new_deployment_matching_a_pattern_is_drift(site: Site) -> None:
    site.declare(PAUSES)
    site.apply()
    site.seeder.deployment(site.ids["etl"], "weekly")

    assert f"+ prefect.deployment.{site.prefix}etl/weekly" in site.run("plan")[1]
    site.apply()
    assert "Nothing to change" in site.apply()


def test_destroy_leaves_automations_of_others_alone(site: Site) -> None:
    site.declare(PAUSES)
    site.apply("prod")
    site.apply("prod-eu")
    theirs = site.seeder.automation(f"prefect-monitoring {site.prefix}prod: somebody's own")
    copied = {key: site.automations("prod:")[0][key] for key in ("description", "tags", "trigger", "actions")}
    copy = site.seeder.call("POST", "/automations/", {**copied, "name": f"copy of {site.prefix}prod's"})["id"]
    others = {automation["id"] for automation in site.automations("prod-eu:")} | {theirs, copy}

    assert "0 to create, 0 to change, 3 to destroy" in site.finish("destroy")
    assert {automation["id"] for automation in site.automations()} == others
    assert "Nothing to change" in site.run("destroy", "--yes")[1]


def test_apply_with_unknown_names_changes_nothing(site: Site) -> None:
    site.block("slack-incoming-webhook", "ops", {"url": "http://127.0.0.1:9/slack/ops"})
    site.declare(PAUSES.replace("~refresh/prod", "~refresh/prd") + "    notify: {slack: ~opps}\n")

    code, text = site.run("apply", "--yes")
    assert code == FAULT
    assert f"there is no deployment {site.prefix}refresh/prd; did you mean {site.prefix}refresh/prod?" in text
    assert f"there is no Slack webhook block named {site.prefix}opps; did you mean {site.prefix}ops?" in text
    assert site.writes() == []


def test_exported_automations_can_be_created_with_the_prefect_cli(
    server: PrefectServer, site: Site, tmp_path: Path
) -> None:
    site.declare(PAUSES)
    code, text = site.run("export")
    assert code == 0
    file = tmp_path / "automations.yaml"
    file.write_text(text)

    command = [sys.executable, "-m", "prefect", "automation", "create", "--from-file", str(file)]
    done = subprocess.run(command, env=env_for(server), capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(site.automations()) == 3
    assert "Nothing to change; 3 unchanged" in site.apply(), "equal to those that apply creates, with the same owner"


# Effects


def test_failure_pauses_downstream_and_success_resumes_it(site: Site) -> None:
    site.declare(PAUSES)
    site.apply()

    site.fail("hourly")
    site.fail("daily")
    wait_until(lambda: site.paused("prod"), ACTS_SECONDS, "a paused deployment")
    site.complete("daily")
    wait_until(lambda: not site.paused("prod"), ACTS_SECONDS, "a resumed deployment")


def test_failure_of_another_deployment_pauses_nothing(site: Site) -> None:
    hourly = "deployment: hourly\n    on_failure: {pause: [~etl/daily], by: prefect}"
    site.declare(PAUSES.replace("cancel: {when: late}", hourly))
    site.apply()

    site.fail("hourly")
    wait_until(lambda: site.paused("daily"), ACTS_SECONDS, "the deployment that depends on hourly")
    assert not site.paused("prod"), "it depends on daily alone"


def test_late_run_is_cancelled(site: Site) -> None:
    site.declare(PAUSES)
    site.apply()
    due = datetime.now(UTC) - timedelta(seconds=30)
    run = site.seeder.run(site.ids["etl"], deployment_id=site.ids["hourly"], state="Scheduled", at=due)

    wait_until(lambda: site.seeder.read(run)["state_type"] == "CANCELLED", ACTS_SECONDS, "a cancelled run")
    assert [state["name"] for state in site.seeder.history(run)][:2] == ["Scheduled", "Late"]


@pytest.fixture
def inbox(tmp_path: Path) -> Iterator[Inbox]:
    with start_inbox(tmp_path) as running:
        yield running


def test_repeated_failures_of_one_deployment_send_one_message_through_a_slack_block(site: Site, inbox: Inbox) -> None:
    site.block("slack-incoming-webhook", "each", {"url": f"{inbox.url}/slack/each"})
    site.block("slack-incoming-webhook", "repeated", {"url": f"{inbox.url}/slack/repeated"})
    site.declare(
        "pipelines:\n"
        "  - {flow: ~refresh, notify: {slack: ~each}}\n"
        "  - {flow: ~etl, notify: {slack: ~repeated, after_failures: 3, within: 1h}}\n"
    )
    site.apply()

    def texts(channel: str) -> list[str]:
        return [message["body"]["text"] for message in inbox.messages("slack") if message["channel"] == f"#{channel}"]

    for deployment in ("daily", "hourly", "daily", "hourly", "prod"):
        site.fail(deployment)
    wait_until(lambda: texts("each"), ACTS_SECONDS, "the message about refresh, whose failure came last")
    assert texts("repeated") == [], "four failures, but only two of each deployment"

    for deployment in ("daily", "daily", "prod"):
        site.fail(deployment)
    wait_until(lambda: len(texts("each")) >= 2, ACTS_SECONDS, "the message about the last failure")
    (message,) = wait_until(lambda: texts("repeated"), ACTS_SECONDS, "the message about three failures")
    first, second, *_ = message.splitlines()
    assert first == f"3 failures within 1h: {site.prefix}etl/daily: Failed"
    assert f"of {site.prefix}etl/daily ended as Failed at 20" in second
    assert "ValueError" not in message, "messages of runs may hold secrets"
    assert "None" not in message
