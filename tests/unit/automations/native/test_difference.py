"""Which automations have to change, and which may be changed at all."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from prefect_monitoring.automations.native.definition import Installation, Rule
from prefect_monitoring.automations.native.difference import plan
from prefect_monitoring.automations.native.text import plan_lines
from prefect_monitoring.model.automations import Automation
from prefect_monitoring.model.differences import Edit

PROD = Installation("prod")
DAILY, HOURLY = (f"00000000-0000-0000-0000-00000000000{number}" for number in (1, 2))
RULE = Rule(
    title="pause refresh/prod",
    description="Pauses it.",
    deployment_ids=(HOURLY, DAILY),
    action={"type": "pause-deployment", "source": "selected", "deployment_id": DAILY},
    labels={"prefect.state-type": ("FAILED", "CRASHED")},
    threshold=3,
    within=60.0,
)
DEFINITION = PROD.definition(RULE)


def _existing(number: int = 1, *, enabled: bool = True, **changes: Any) -> Automation:
    """DEFINITION as Prefect returns it after creation."""
    held = deepcopy({**DEFINITION, "id": f"a{number}", "enabled": enabled, **changes})
    held["trigger"]["id"] = "a trigger's own id"
    return Automation(f"a{number}", held["name"], frozenset(held["tags"]), enabled, float(number), held)


def _with(path: tuple[Any, ...], value: Any) -> Automation:
    automation = _existing()
    held: Any = automation.definition
    for step in path[:-1]:
        held = held[step]
    held[path[-1]] = value
    return automation


def test_unchanged_automation_needs_no_change() -> None:
    difference = plan([DEFINITION], [_existing()])

    assert difference.is_empty
    assert difference.unchanged == 1


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("trigger", "match", "prefect.resource.id"), ["prefect.flow-run.*"]),
        (
            ("trigger", "match_related", "prefect.resource.id"),
            [f"prefect.deployment.{deployment_id}" for deployment_id in (HOURLY, DAILY)],
        ),
        (("trigger", "within"), 60),
        (("trigger", "added_by_a_newer_server"), "x"),
        (("actions", 0, "added_by_a_newer_server"), None),
        (("tags",), ["prefect-monitoring:prod", "prefect-monitoring"]),
    ],
)
def test_equivalent_automation_needs_no_change(path: tuple[Any, ...], value: Any) -> None:
    assert plan([DEFINITION], [_with(path, value)]).is_empty


@pytest.mark.parametrize(
    ("path", "value", "edit"),
    [
        (("trigger", "within"), 61.0, Edit("trigger.within", 61.0, 60.0)),
        (("trigger", "match", "team"), "x", Edit("trigger.match.team", "x", None)),
        (("actions", 0, "deployment_id"), HOURLY, Edit("actions[0].deployment_id", HOURLY, DAILY)),
        (("actions",), [], Edit("actions", [], DEFINITION["actions"])),
        (("tags",), [], Edit("tags", [], ["prefect-monitoring", "prefect-monitoring:prod"])),
        (("description",), "mine", Edit("description", "mine", DEFINITION["description"])),
        (("actions_on_trigger",), [{"type": "do-nothing"}], Edit("actions_on_trigger", [{"type": "do-nothing"}], [])),
    ],
)
def test_drift_is_reverted(path: tuple[Any, ...], value: Any, edit: Edit) -> None:
    difference = plan([DEFINITION], [_with(path, value)])

    (change,) = difference.change
    assert change.edits == (edit,)
    assert not difference.create
    assert not difference.destroy


def test_trigger_of_another_kind_is_reverted() -> None:
    compound = {"type": "compound", "triggers": [{"type": "event"}], "require": "all", "within": None}

    (change,) = plan([DEFINITION], [_existing(trigger=compound)]).change

    assert Edit("trigger.type", "compound", "event") in change.edits


def test_undeclared_automation_is_destroyed_and_missing_one_created() -> None:
    difference = plan([DEFINITION], [_existing(name="prefect-monitoring prod: old")])

    assert [definition["name"] for definition in difference.create] == [DEFINITION["name"]]
    assert [automation.name for automation in difference.destroy] == ["prefect-monitoring prod: old"]


def test_duplicate_name_keeps_the_first_automation() -> None:
    difference = plan([DEFINITION], [_existing(1), _existing(2)])

    assert [automation.id for automation in difference.destroy] == ["a2"]
    assert difference.unchanged == 1


def test_automation_paused_by_hand_stays_paused() -> None:
    difference = plan([DEFINITION], [_existing(enabled=False)])

    assert difference.is_empty
    assert difference.paused == (DEFINITION["name"],)


@pytest.mark.parametrize(
    ("tags", "name", "owned", "own"),
    [
        (["prefect-monitoring:prod"], "prefect-monitoring prod: x", set(), True),
        ([], "renamed by hand", {"a1"}, True),
        (["prefect-monitoring:prod"], "a copy of somebody's", set(), False),
        (["prefect-monitoring:prod-eu"], "prefect-monitoring prod-eu: x", set(), False),
        ([], "prefect-monitoring prod: x", set(), False),
        (["prefect-monitoring"], "prefect-monitoring prod: x", {"a2"}, False),
    ],
)
def test_only_automations_of_this_installation_are_managed(
    tags: list[str], name: str, owned: set[str], *, own: bool
) -> None:
    assert bool(PROD.own([_existing(tags=tags, name=name)], owned)) is own


def test_definitions_use_no_proactive_trigger_and_no_retry() -> None:
    assert DEFINITION["trigger"]["posture"] == "Reactive"
    assert "owner_resource" not in DEFINITION, "Prefect refuses it in a change"
    assert PROD.creation(DEFINITION)["owner_resource"] == "prefect-monitoring.installation.prod"


def test_plan_shows_names_instead_of_ids() -> None:
    changed = _with(("trigger", "match_related", "prefect.resource.id"), [f"prefect.deployment.{HOURLY}"])
    names = {DAILY: "etl/daily", HOURLY: "etl/hourly"}
    other = {**DEFINITION, "name": "prefect-monitoring prod: new"}

    lines = list(plan_lines(plan([DEFINITION, other], [changed, _existing(2, name="gone", enabled=False)]), names))

    assert lines == [
        "  + create   prefect-monitoring prod: new",
        "             Pauses it.",
        "             watches etl/daily, etl/hourly",
        "  ~ change   prefect-monitoring prod: pause refresh/prod",
        "             trigger.match_related.prefect.resource.id: + prefect.deployment.etl/daily",
        "  - destroy  gone",
        "1 to create, 1 to change, 1 to destroy; 0 unchanged",
    ]
