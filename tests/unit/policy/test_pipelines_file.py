"""The pipelines file: its keys, and faults with their lines."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from prefect_monitoring.policy.action_rules import RULES
from prefect_monitoring.policy.pipelines_file import PipelinesError, PipelinesFile, parse_pipelines, read_pipelines

ROOT = Path(__file__).parents[3]


def _faults(text: str) -> list[str]:
    with pytest.raises(PipelinesError) as caught:
        parse_pipelines(text, "p.yml")
    return str(caught.value).splitlines()


def test_file_with_every_key_is_read() -> None:
    file = parse_pipelines(
        """
defaults: {team: data, slo: {grace: 1h}}
pipelines:
  - flow: etl-.*
    deployment: prod
    criticality: critical
    team: analytics
    labels: {domain: finance}
    slo: {max_duration: 1h30m, min_success_ratio: 99.5%, window: 7d, max_staleness: 26h, grace: 5m}
    metrics: {rows: {min: 1, max: 1_000_000}, lag: {max: 2.5}}
    max_pause: 3d
""",
        "p.yml",
    )

    entry = file.pipelines[0]
    assert (file.defaults.team, file.defaults.slo.grace) == ("data", 3600)
    assert (entry.flow, entry.deployment, entry.criticality, entry.team) == ("etl-.*", "prod", "critical", "analytics")
    assert entry.slo.model_dump() == {
        "max_duration": 5400,
        "min_success_ratio": 0.995,
        "window": 7 * 86400,
        "max_staleness": 26 * 3600,
        "grace": 300,
    }
    assert {name: (limits.min, limits.max) for name, limits in entry.metrics.items()} == {
        "rows": (1, 1e6),
        "lag": (None, 2.5),
    }
    assert (entry.labels, entry.max_pause) == ({"domain": "finance"}, 3 * 86400)


def test_rules_that_act_are_read() -> None:
    file = parse_pipelines(
        """
defaults: {retry: {max: 1}}
pipelines:
  - flow: etl
    retry: {max: 3, delay: 5m, backoff: 2, jitter: 10%, states: [failed], within: 2h, not_causes: [code, own]}
    on_failure: {pause: [lightdash-refresh/production], resume_on_success: true, by: prefect}
    scale: {when_running_longer_than: 30m, work_pool: data-pipelines, concurrency: 10}
    skip: {when_later_than: 2h}
    notify: {slack: data-alerts, after_failures: 3, within: 1h}
""",
        "p.yml",
        {"code", "own"},
    )

    entry = file.pipelines[0]
    assert file.defaults.retry is not None
    assert file.defaults.retry.model_dump() == {
        "max": 1,
        "delay": 300,
        "backoff": 1,
        "jitter": 0.1,
        "states": ("failed", "crashed"),
        "within": 3600,
        "only_causes": (),
        "not_causes": (),
        "unless_running": False,
    }
    assert entry.retry is not None
    assert (entry.retry.max, entry.retry.delay, entry.retry.backoff, entry.retry.jitter) == (3, 300, 2, 0.1)
    assert [entry.retry.covers(cause) for cause in ("code", "own", "timeout")] == [False, False, True]
    assert entry.on_failure is not None
    assert entry.on_failure.targets == (("lightdash-refresh", "production"),)
    assert (entry.on_failure.resume_on_success, entry.on_failure.by) == (True, "prefect")
    assert entry.scale is not None
    assert (entry.scale.when_running_longer_than, entry.scale.concurrency, entry.scale.back_after) == (1800, 10, 1800)
    assert entry.skip is not None
    assert entry.skip.when_later_than == 7200
    assert entry.notify is not None
    assert (entry.notify.slack, entry.notify.pagerduty, entry.notify.after_failures) == ("data-alerts", None, 3)


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "pipelines: []", "{}"])
def test_empty_file_declares_nothing(text: str) -> None:
    assert parse_pipelines(text, "p.yml") == PipelinesFile()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("pipelines:\n  - flow: a\n    criticallity: low", "p.yml:3: pipelines[0].criticallity: there is no such key;"),
        ("pipelines:\n  - flow: a\n    criticallity: low", "did you mean `criticality`?"),
        ("pipelines:\n  - flow: a\n    criticality: urgent", "p.yml:3: pipelines[0].criticality: Input should be"),
        ("pipelines:\n  - flow: a\n  - team: b", "p.yml:3: pipelines[1].flow: Field required"),
        ("pipelines:\n  - flow: 'a('", "p.yml:2: pipelines[0].flow: 'a(' is not a regular expression"),
        ("pipelines:\n- flow: a\n  slo:\n    window: 30", "p.yml:4: pipelines[0].slo.window: '30' is not a duration"),
        ("pipelines:\n- flow: a\n  slo: {window: 500d}", "p.yml:3: pipelines[0].slo.window: Input should be less"),
        ("pipelines:\n- flow: a\n  slo: {min_success_ratio: 99}", "99 is not a success ratio: write 0.99 or 99%"),
        ("pipelines:\n- flow: a\n  slo: {min_success_ratio: 0}", "0 is not a success ratio"),
        ("pipelines:\n- flow: a\n  slo: {max_duration: 0s}", "p.yml:3: pipelines[0].slo.max_duration: Input should be"),
        ("pipelines:\n- flow: a\n  metrics: {rows: {}}", "p.yml:3: pipelines[0].metrics.rows: give min, max or both"),
        ("pipelines:\n- flow: a\n  metrics: {rows: {min: 2, max: 1}}", "min (2) is above max (1)"),
        ("pipelines:\n- flow: a\n  metrics: {rows: {min: .nan}}", "metrics.rows.min: Input should be a finite number"),
        ("pipelines:\n- flow: a\n  metrics: {rows: {min: true}}", "metrics.rows.min: Input should be a valid number"),
        ("pipelines:\n- flow: a\n  labels: {team: b}", "p.yml:3: pipelines[0].labels.team: 'team' is reserved"),
        ("pipelines:\n- flow: a\n  labels: {a-b: c}", "'a-b' is not a label name"),
        ("pipelines:\n- flow: a\n  labels: {a: ''}", "pipelines[0].labels.a: String should have at least 1"),
        ("pipelines:\n- flow: a\n  retry: {}", "p.yml:3: pipelines[0].retry.max: Field required"),
        ("pipelines:\n- flow: a\n  retry: {max: 21}", "p.yml:3: pipelines[0].retry.max: Input should be less"),
        ("pipelines:\n- flow: a\n  retry: {max: true}", "p.yml:3: pipelines[0].retry.max: Input should be a valid"),
        ("pipelines:\n- flow: a\n  retry: {max: 3, backoff: 0.5}", "retry.backoff: Input should be greater"),
        ("pipelines:\n- flow: a\n  retry: {max: 3, jitter: 100%}", "retry.jitter: 1 is not a share below 1"),
        ("pipelines:\n- flow: a\n  retry: {max: 3, delay: 2d}", "retry.delay: Input should be less"),
        ("pipelines:\n- flow: a\n  retry: {max: 9, delay: 1h, backoff: 3}", "retry: retry 9 would wait 273 days, more"),
        ("pipelines:\n- flow: a\n  retry: {max: 3, states: []}", "retry.states: Tuple should have at least 1"),
        ("pipelines:\n- flow: a\n  retry: {max: 3, states: [cancelled]}", "retry.states[0]: Input should be"),
        (
            "pipelines:\n- flow: a\n  retry:\n    max: 3\n    not_causes: [cod]",
            "p.yml:5: pipelines[0].retry.not_causes[0]",
        ),
        (
            "pipelines:\n- flow: a\n  retry: {max: 3, only_causes: [cod]}",
            "'cod' is not a failure cause; there are auth,",
        ),
        (
            "pipelines:\n- flow: a\n  retry: {max: 3, only_causes: [code], not_causes: [code]}",
            "retry: code cannot be in only_causes and in not_causes",
        ),
        (
            "pipelines:\n- {flow: a, deployment: '', retry: {max: 1}}",
            "p.yml:2: pipelines[0]: runs without a deployment",
        ),
        ("pipelines:\n- flow: a\n  on_failure: {pause: []}", "on_failure.pause: Tuple should have at least 1"),
        ("pipelines:\n- flow: a\n  on_failure: {pause: b/c}", "on_failure.pause: must be a list"),
        ("pipelines:\n- flow: a\n  on_failure: {pause: [b]}", "'b' is not a deployment: write flow/deployment"),
        ("pipelines:\n- flow: a\n  on_failure: {pause: [a/b]}", "p.yml:3: pipelines[0].on_failure: pauses itself"),
        ("defaults: {on_failure: {pause: [a/b]}}", "p.yml:1: defaults.on_failure: there is no such key"),
        ("pipelines:\n- flow: a\n  scale: {work_pool: p}", "scale.concurrency: Field required"),
        (
            "pipelines:\n- flow: a\n  scale: {when_running_longer_than: 1h, work_pool: p, concurrency: 0}",
            "p.yml:3: pipelines[0].scale.concurrency: Input should be greater",
        ),
        ("pipelines:\n- flow: a\n  skip: {when_later_than: 10s}", "skip.when_later_than: Input should be greater"),
        ("pipelines:\n- flow: a\n  skip: {when_late_than: 1h}", "did you mean `when_later_than`?"),
        ("pipelines:\n- flow: a\n  notify: {}", "notify: give slack, pagerduty or both"),
        ("pipelines:\n- flow: a\n  notify: {slack: My Block}", "notify.slack: String should match pattern"),
        ("pipelines:\n- flow: a\n  notify: {slack: b, within: 1h}", "notify: after_failures (more than 1) and within"),
        ("pipelines:\n- flow: a\n  notify: {slack: b, after_failures: 2}", "notify: after_failures (more than 1) and"),
        ("pipelines:\n  flow: a", "p.yml:1: pipelines: must be a list: begin each entry with `- flow: …`"),
        ("pipelines:\n- a", "p.yml:2: pipelines[0]: must hold keys"),
        ("- flow: a", "p.yml:1: must hold keys, as `key: value` lines"),
        ("pipelines:\n- flow: a\n  team: b\n  team: c", "p.yml:4: `team` is given twice, first in line 3"),
        ("pipelines: [\n", "p.yml:2: is not YAML"),
        ("pipelines:\n\t- flow: a", "p.yml:2: is not YAML"),
        ("a: &x [*x]", "p.yml:1: "),
        ("!!python/object:os.system {}", "p.yml:1: is not YAML"),
    ],
)
def test_fault_is_reported_with_its_line(text: str, fault: str) -> None:
    assert any(fault in line for line in _faults(text)), _faults(text)


def test_all_faults_are_reported_in_line_order() -> None:
    faults = _faults("pipelines:\n- flow: a\n  team: 1\n- flow: b\n  slo: {grace: x, window: y}\ndefault: {}\n")

    assert [fault.split(":")[1] for fault in faults] == ["3", "5", "5", "6"]


def test_fault_in_an_alias_has_the_line_of_its_anchor() -> None:
    faults = _faults("defaults: {slo: &slo {grace: soon}}\npipelines:\n- flow: a\n  slo: *slo\n")

    assert [fault.split(":")[1] for fault in faults] == ["1", "1"]


def test_unreadable_file_is_a_fault(tmp_path: Path) -> None:
    binary = tmp_path / "latin.yml"
    binary.write_bytes(b"team: \xe4")

    for path, reason in ((tmp_path / "none.yml", "No such file"), (tmp_path, "directory"), (binary, "is not UTF-8")):
        with pytest.raises(PipelinesError, match=reason):
            read_pipelines(path)


def test_demo_pipelines_file_is_valid() -> None:
    path = ROOT / "examples" / "pipelines.yml"

    assert parse_pipelines(read_pipelines(path), str(path)).pipelines


def test_documented_examples_are_valid_and_every_key_is_explained() -> None:
    page = (ROOT / "docs" / "pipelines.md").read_text()
    blocks = [part.split("```")[0] for part in page.split("```yaml\n")[1:]]

    assert [len(parse_pipelines(block, "docs").pipelines) for block in blocks] == [2, 1]
    defs = json.loads((ROOT / "docs" / "pipelines.schema.json").read_text())["$defs"]
    keys = {*defs["PipelineEntry"]["properties"]} - {"slo"}
    for prefix, name in {"slo": "Objectives", **{rule: model.__name__ for rule, model in RULES.items()}}.items():
        keys |= {f"{prefix}.{key}" for key in defs[name]["properties"]}
    cells = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    explained = [key for cell in cells for key in re.findall(r"`([^`]+)`", cell)]
    assert sorted(keys) == sorted(explained)


def test_schema_describes_values_as_written() -> None:
    schema = json.loads((ROOT / "docs" / "pipelines.schema.json").read_text())

    assert schema["additionalProperties"] is False
    window = schema["$defs"]["Objectives"]["properties"]["window"]
    assert {"type": "string"}.items() <= window["anyOf"][0].items()
    assert yaml.safe_load("30d") == "30d"
