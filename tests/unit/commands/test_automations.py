"""`automations`: plan, apply, destroy and export against an in-memory server."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.settings import PREFECT_API_URL, temporary_settings

from prefect_monitoring.cli import main
from prefect_monitoring.cli.parser import FAULT
from prefect_monitoring.commands.automations import automations
from prefect_monitoring.commands.plans import WOULD_CHANGE, Choices
from prefect_monitoring.config.loading import load_settings
from prefect_monitoring.config.settings import CONFIG_ENV, SettingsError
from prefect_monitoring.prefect_api.errors import ApiError
from unit.loopback import Answer, Asked, loopback

FLOW, DAILY, REFRESH, BLOCK = (f"00000000-0000-0000-0000-00000000000{number}" for number in range(1, 5))
PIPELINES = """
pipelines:
  - flow: etl
    deployment: daily
    on_failure: {pause: [etl/refresh], resume_on_success: true, by: prefect}
    notify: {slack: ops}
"""
ROWS: dict[str, list[dict[str, Any]]] = {
    "/flows/filter": [{"id": FLOW, "name": "etl"}],
    "/deployments/filter": [
        {"id": DAILY, "name": "daily", "flow_id": FLOW, "tags": []},
        {"id": REFRESH, "name": "refresh", "flow_id": FLOW, "tags": []},
    ],
    "/block_documents/filter": [
        {"id": BLOCK, "name": "ops", "block_type": {"slug": "slack-webhook", "name": "Slack Webhook"}, "data": {}}
    ],
}
_EARLY = "2026-01-01T00:00:00Z"


@dataclass
class Workspace:
    """Prefect's automations in memory; owner fields are not kept, as on some servers."""

    held: dict[str, dict[str, Any]] = field(default_factory=dict)
    writes: list[str] = field(default_factory=list)
    refuses: str = ""

    def answer(self, asked: Asked) -> Answer:
        path = asked.path.removeprefix("/api")
        kind, _, automation_id = path.strip("/").partition("/")
        if path == "/automations/filter":
            return Answer(body=list(self.held.values()))
        if automation_id.startswith("related-to/"):
            return Answer(404, {"detail": "Not Found"})
        if kind != "automations":
            return Answer(body=ROWS[path])
        self.writes.append(asked.method)
        if asked.method == self.refuses:
            return Answer(422, {"exception_detail": [{"msg": "no such block"}]})
        match asked.method:
            case "POST":
                number = f"a{len(self.writes)}"
                kept = {key: value for key, value in asked.body.items() if key != "owner_resource"}
                self.held[number] = {**kept, "id": number, "created": _EARLY}
                return Answer(201, self.held[number])
            case "PUT":
                self.held[automation_id] |= asked.body
            case "DELETE":
                del self.held[automation_id]
        return Answer(204, b"")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CONFIG_ENV, raising=False)


@pytest.fixture
async def workspace() -> AsyncIterator[Workspace]:
    async with loopback() as site:
        held = Workspace()
        site.answer = held.answer
        with temporary_settings({PREFECT_API_URL: site.url}):
            yield held


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "pipelines.yml"
    path.write_text(PIPELINES, encoding="utf-8")
    return path


def _declare(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")


async def _run(
    step: str, file: Path, *, installation: str = "prod", yes: bool = True, detailed: bool = False
) -> tuple[int, str]:
    settings, out = load_settings({"pipelines": str(file), "installation": installation}, {}), StringIO()
    code = await automations(settings, Choices(step, yes=yes, detailed_exitcode=detailed), out)
    return code, out.getvalue()


async def test_plan_shows_changes_and_writes_nothing(workspace: Workspace, file: Path) -> None:
    assert await _run("plan", file, detailed=True) == (WOULD_CHANGE, (await _run("plan", file))[1])

    code, text = await _run("plan", file)
    assert code == 0
    assert text.splitlines()[1:4] == [
        "  + create   prefect-monitoring prod: Slack ops: failed or crashed runs",
        "             Sends a message with the Slack Webhook block ops: failed or crashed runs.",
        "             watches etl/daily",
    ]
    assert "3 to create, 0 to change, 0 to destroy; 0 unchanged" in text
    assert workspace.writes == []


async def test_apply_twice_writes_once(workspace: Workspace, file: Path) -> None:
    await _run("apply", file)
    assert workspace.writes == ["POST"] * 3
    assert {tuple(held["tags"]) for held in workspace.held.values()} == {
        ("prefect-monitoring", "prefect-monitoring:prod")
    }

    _, text = await _run("apply", file)
    assert "Nothing to change; 3 unchanged" in text
    assert (await _run("plan", file, detailed=True))[0] == 0
    assert workspace.writes == ["POST"] * 3


async def test_apply_reverts_drift_but_keeps_a_manual_pause(workspace: Workspace, file: Path) -> None:
    await _run("apply", file)
    edited = workspace.held["a1"]
    edited["trigger"]["within"], edited["enabled"] = 99.0, False

    _, text = await _run("apply", file)
    assert "trigger.within: 99.0 → 0.0" in text
    assert "is paused in Prefect, and stays so" in text
    assert workspace.writes == ["POST"] * 3 + ["PUT"]
    assert (workspace.held["a1"]["trigger"]["within"], workspace.held["a1"]["enabled"]) == (0.0, False)


async def test_destroy_removes_only_its_own(workspace: Workspace, file: Path) -> None:
    workspace.held["theirs"] = {
        "id": "theirs",
        "name": "prefect-monitoring",
        "tags": ["prefect-monitoring"],
        "enabled": True,
        "created": _EARLY,
    }
    await _run("apply", file)
    await _run("apply", file, installation="staging")
    assert len(workspace.held) == 7

    await _run("destroy", file)
    names = sorted(held["name"] for held in workspace.held.values())
    assert names[0] == "prefect-monitoring"
    assert all(name.startswith("prefect-monitoring staging: ") for name in names[1:])
    assert len(names) == 4
    assert "Nothing to change" in (await _run("destroy", file))[1]


async def test_apply_destroys_what_is_no_longer_declared(workspace: Workspace, file: Path) -> None:
    await _run("apply", file)
    _declare(file, "pipelines: [{flow: etl, deployment: daily, notify: {slack: ops}}]")

    await _run("apply", file)
    assert [held["name"] for held in workspace.held.values()] == [
        "prefect-monitoring prod: Slack ops: failed or crashed runs"
    ]


async def test_apply_with_an_unknown_name_writes_nothing(workspace: Workspace, file: Path) -> None:
    _declare(file, PIPELINES.replace("etl/refresh", "etl/refesh").replace("ops", "opps"))

    with pytest.raises(SettingsError) as refused:
        await _run("apply", file)
    lines = str(refused.value).splitlines()
    assert [line.partition("did you mean ")[2] for line in lines] == ["ops?", "etl/refresh?"]
    assert workspace.writes == []


@pytest.mark.parametrize("step", ["apply", "destroy"])
async def test_apply_without_consent_writes_nothing(
    workspace: Workspace, file: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _run("apply", file)
    _declare(file, f"{PIPELINES}    cancel: {{when: late}}")
    before = list(workspace.writes)

    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    with pytest.raises(SettingsError, match="give --yes"):
        await _run(step, file, yes=False)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _: "y")
    with pytest.raises(SettingsError, match="nothing was changed"):
        await _run(step, file, yes=False)
    assert workspace.writes == before

    monkeypatch.setattr("builtins.input", lambda _: "yes")
    await _run(step, file, yes=False)
    assert len(workspace.writes) > len(before)


async def test_failed_write_stops_with_its_reason(workspace: Workspace, file: Path) -> None:
    workspace.refuses = "POST"

    with pytest.raises(ApiError, match="no such block\nWhat is reported above was changed: run the command again"):
        await _run("apply", file)
    assert workspace.writes == ["POST"], "a request that may have been carried out is not sent again"


async def test_filters_exclude_deployments_of_other_teams(workspace: Workspace, file: Path) -> None:
    _declare(file, "defaults: {notify: {slack: ops}}")
    flags = {"pipelines": str(file), "installation": "prod", "exclude_deployments": "refresh"}
    settings, out = load_settings(flags, {}), StringIO()

    await automations(settings, Choices("plan"), out)
    assert "watches etl/daily\n" in out.getvalue()


async def test_export_equals_what_apply_creates(workspace: Workspace, file: Path) -> None:
    _, text = await _run("export", file)
    assert workspace.writes == []
    exported = yaml.safe_load(text)["automations"]

    await _run("apply", file)
    created = [
        {key: value for key, value in held.items() if key not in {"id", "created"}} for held in workspace.held.values()
    ]
    owner = {"owner_resource": "prefect-monitoring.installation.prod"}
    assert exported == json.loads(json.dumps([{**definition, **owner} for definition in created]))


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (["plan"], FAULT, "--installation: give this installation a name"),
        (["plan", "--installation", "prod"], FAULT, "--pipelines: name the file"),
        (["plan", "--installation", "Prod 1"], FAULT, "is not a name for an installation"),
        (["plan", "--detailed-exitcode"], 1, "--installation"),
        (["plan", "--detailed-exitcode", "--installation", "Prod 1"], 1, "is not a name for an installation"),
    ],
)
def test_incomplete_arguments_are_reported(
    capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, error: str
) -> None:
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        assert main(["automations", *arguments]) == code
    assert error in capsys.readouterr().err
