"""Rules and dashboards select all state names of a type: the type, not the name, decides whether a run is good."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from grafana.src import states
from prefect_monitoring.model.records import State, TaskRun, labels_of

ROOT = Path(__file__).parents[2]
CODE = ROOT / "exporter/prefect_monitoring"
FILES = sorted([*(ROOT / "prometheus/rules").glob("*.yml"), *(ROOT / "grafana").rglob("*.json")])
ENDS = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
OUTCOMES = re.compile(r"prefect_flow_run_(?:last_outcome_timestamp_seconds|outcomes[:\w]*)\{([^}]*)\}")
STATES = re.compile(r"""\bstate(=~?|!=|!~)["'`]([^"'`]+)["'`]""")
# Every pipeline has these series from the start: they select existing pipelines, not outcomes.
EXISTENCE = "unchosen"


def test_label_values_belong_to_one_type_each() -> None:
    labels = [label for state_type in ENDS for label in labels_of(state_type)]
    assert len(labels) == len(set(labels))
    assert set(states.COMPLETED.split("|")) == set(labels_of("COMPLETED"))
    assert set(states.BAD.split("|")) == set(labels_of("FAILED", "CRASHED"))
    assert set(states.CANCELLED.split("|")) == set(labels_of("CANCELLED"))


@pytest.mark.parametrize(
    ("state_type", "name", "label"),
    [
        ("COMPLETED", "Skipped", "skipped"),
        ("COMPLETED", "NoData", "completed"),
        ("COMPLETED", "Failed", "completed"),
        ("FAILED", "Completed", "failed"),
        ("FAILED", "Cached", "failed"),
        ("FAILED", "Crashed", "failed"),
        ("CRASHED", "TimedOut", "crashed"),
        ("CANCELLED", "Completed", "cancelled"),
        ("RUNNING", "Late", "running"),
        ("PENDING", "Running", "pending"),
    ],
)
def test_name_of_another_type_is_no_label(state_type: str, name: str, label: str) -> None:
    assert State("s", state_type, name, 0.0, "").label == label


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_outcomes_are_selected_by_whole_types(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    queries = json.dumps(json.loads(text), ensure_ascii=False).replace('\\"', '"') if file.suffix == ".json" else text
    for matchers in OUTCOMES.findall(queries):
        if EXISTENCE in matchers:
            continue
        for _, values in STATES.findall(matchers):
            chosen = set(values.split("|"))
            for state_type in ENDS:
                labels = set(labels_of(state_type))
                assert chosen >= labels or chosen.isdisjoint(labels), f"{values}: only a part of {state_type}"


def test_no_code_picks_an_outcome_by_one_name() -> None:
    """`RunStats.last_success` and `labels_of` know every name of a type."""
    by_name = re.compile(r"""last_outcomes(?:\.get\(|\[)["']\w+["']""")
    found = [path.name for path in CODE.rglob("*.py") if by_name.search(path.read_text(encoding="utf-8"))]
    assert found == []


@pytest.mark.parametrize(
    ("state_type", "name", "kind"),
    [
        ("COMPLETED", "RolledBack", "RolledBack"),
        ("COMPLETED", "Completed", "COMPLETED"),
        ("FAILED", "RolledBack", "FAILED"),
        ("CRASHED", "Cached", "CRASHED"),
    ],
)
def test_task_run_is_compared_by_its_type(state_type: str, name: str, kind: str) -> None:
    """The API counts by type: a run compared by name would be reported missing forever."""
    state = State("s", state_type, name, 0.0, "")
    assert TaskRun("t", "load", None, 0, state, 1, 0.0, 1.0, 1.0).kind == kind
