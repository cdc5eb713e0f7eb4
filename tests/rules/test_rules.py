"""The shipped Prometheus rules: their promtool tests, and the conventions for rules and alerts."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from prefect_monitoring.archive.metrics import ARCHIVE_METRICS
from prefect_monitoring.metrics import CATALOGUE
from support.prometheus import promtool
from support.promql_labels import reader

ROOT = Path(__file__).parents[2]
RULE_FILES = sorted((ROOT / "prometheus/rules").glob("*.yml"))
TEST_FILES = sorted((ROOT / "prometheus/tests").glob("*.yml"))
RUNBOOKS = ROOT / "docs/runbooks"


@cache
def _load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


RULES: list[dict[str, Any]] = [
    rule for path in RULE_FILES for group in _load(path)["groups"] for rule in group["rules"]
]
ALERTS = [rule for rule in RULES if "alert" in rule]
RECORDS = [rule for rule in RULES if "record" in rule]
ALERT_NAMES = sorted({rule["alert"] for rule in ALERTS})


def _name(rule: dict[str, Any]) -> str:
    return str(rule.get("alert") or rule["record"])


def _without_strings(expression: str) -> str:
    return re.sub(r'"(?:[^"\\]|\\.)*"', '""', expression)


def _metrics_named() -> set[str]:
    """The metrics in expressions and in annotations, where a wrong name would silently leave a gap."""
    texts = [_without_strings(rule["expr"]) for rule in RULES]
    texts += [text for rule in ALERTS for text in rule["annotations"].values()]
    named = {name for text in texts for name in re.findall(r"(?<![\w$.])(?:[a-z_]+:)?prefect_\w+(?::\w+)?", text)}
    return named - {"prefect_url"}  # a label


def _promtool(*arguments: str | Path) -> None:
    done = promtool(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr


each_alert = pytest.mark.parametrize("rule", ALERTS, ids=_name)
each_rule = pytest.mark.parametrize("rule", RULES, ids=_name)
each_alert_name = pytest.mark.parametrize("name", ALERT_NAMES)


@pytest.mark.parametrize("path", RULE_FILES, ids=lambda path: path.name)
def test_rules_are_valid(path: Path) -> None:
    _promtool("check", "rules", "--lint=all", "--lint-fatal", path)


@pytest.mark.parametrize("path", TEST_FILES, ids=lambda path: path.name)
def test_rules_pass_their_promtool_tests(path: Path) -> None:
    _promtool("test", "rules", path)


@each_alert_name
def test_alert_fires_and_resolves_in_promtool_tests(name: str) -> None:
    """Judged by the expectations in its promtool tests."""
    seen = [_expected_of(name, test) for path in TEST_FILES for test in _load(path)["tests"]]
    fires = [min((at for at, alerts in expectations if alerts), default=None) for expectations in seen]
    silent = [max((at for at, alerts in expectations if not alerts), default=0.0) for expectations in seen]
    assert any(at is not None for at in fires), "no test in which it fires"
    if name != "PrefectWatchdog":
        both = [pair for pair in zip(fires, silent, strict=True) if pair[0] is not None]
        assert any(last > first for first, last in both), "no test in which it fires, and is silent later"


def _expected_of(name: str, test: dict[str, Any]) -> list[tuple[float, list[Any]]]:
    """The (time, expected alerts) of an alert in a test."""
    seconds = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    return [
        (
            sum(
                int(number) * seconds[unit]
                for number, unit in re.findall(r"(\d+)([smhd])", str(expectation["eval_time"]))
            ),
            expectation["exp_alerts"],
        )
        for expectation in test.get("alert_rule_test", ())
        if expectation["alertname"] == name
    ]


@each_alert_name
def test_alert_has_its_runbook(name: str) -> None:
    assert (RUNBOOKS / f"{name}.md").read_text(encoding="utf-8").startswith(f"# {name}\n")
    assert f"[{name}]({name}.md)" in (RUNBOOKS / "README.md").read_text(encoding="utf-8")


def test_runbook_has_its_alert() -> None:
    assert {path.stem for path in RUNBOOKS.glob("*.md")} == {"README", *ALERT_NAMES}


def test_runbook_has_its_headings() -> None:
    for page in RUNBOOKS.glob("Prefect*.md"):
        headings = re.findall(r"^## (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert headings[:4] == ["Meaning", "Impact", "Diagnosis", "Mitigation"], page.name


def test_metrics_of_runbooks_exist() -> None:
    known = {metric.name for metric in (*CATALOGUE, *ARCHIVE_METRICS)}
    for page in RUNBOOKS.glob("*.md"):
        named = re.findall(r"(?<![\w:])prefect_\w+", page.read_text(encoding="utf-8"))
        assert not set(named) - known, page.name


@each_alert
def test_alert_has_annotations_runbook_and_severity(rule: dict[str, Any]) -> None:
    annotations = rule["annotations"]
    assert all(annotations.get(name) for name in ("summary", "description", "runbook_url"))
    assert annotations["runbook_url"].endswith(f"/{rule['alert']}.md")
    severities = set(re.sub(r"{{.*?}}", " ", rule["labels"]["severity"]).split())
    assert severities
    assert severities <= {"critical", "warning", "info", "none"}


@each_alert
def test_labels_of_an_alert_are_independent_of_its_value(rule: dict[str, Any]) -> None:
    assert not re.search(r"\$value|query|flow_run_id|url", " ".join(rule["labels"].values()))


@each_alert
def test_paging_alert_keeps_firing_during_an_outage(rule: dict[str, Any]) -> None:
    """With unchanged labels, or it would be another alert."""
    severities = re.sub(r"{{.*?}}", " ", rule["labels"]["severity"]).split()
    if "critical" not in severities or rule["alert"] in {"PrefectApiDown", "PrefectExporterDown"}:
        return
    held = rf'0 \* max by \(([\w, ]+)\) \(ALERTS{{alertname="{rule["alert"]}",alertstate="firing"}}\)'
    found = re.search(held + r"\n\s+and on \(workspace\) workspace:prefect_blind:last3m\s*$", rule["expr"])
    assert found
    assert set(found[1].split(", ")) == reader().labels(rule["expr"])


@pytest.mark.parametrize("rule", RECORDS, ids=_name)
def test_record_is_named_level_metric_operation(rule: dict[str, Any]) -> None:
    assert re.fullmatch(r"[a-z_]+:prefect_[a-z0-9_]+:[a-z0-9_]+", rule["record"])


@each_rule
def test_rule_selects_no_particular_target_or_pipeline(rule: dict[str, Any]) -> None:
    expression = _without_strings(rule["expr"].replace('work_pool=""', ""))  # outside pools
    if rule.get("alert") == "PrefectTargetDown":  # a target that never answered has no other name
        expression = expression.replace("up{job=~", "up{").replace("on (job) group by (job)", "")
    if "custom_metric_observed" in rule.get("record", ""):  # further labels of each line are added up, in each target
        expression = expression.replace("sum by (job, instance, workspace", "sum by (workspace")
    named = r"\b(?:job|instance|pod|namespace|cluster|workspace|flow|deployment|team|task|metric|work_pool|work_queue)"
    assert not re.search(rf"{named}\s*[=!]", expression)
    assert not re.search(r"\b(?:job|instance|pod|namespace|cluster)\b", expression), "merged by `max by (workspace, …)`"


@each_rule
def test_rule_looks_back_no_further_than_a_day(rule: dict[str, Any]) -> None:
    """Except those that must survive a weekend, each over one series, and levels that are recorded once a day."""
    longer = {"7d"} if rule.get("alert") in {"PrefectExporterDown", "PrefectArchiveBehind"} else set()
    longer |= {"2d"} if re.search(":increase(7d)?$", rule.get("record", "")) else set()
    assert set(re.findall(r"\[(\w+)\]", rule["expr"])) <= {"3m", "5m", "10m", "15m", "30m", "1h", "1d"} | longer


@pytest.mark.parametrize("name", sorted(_metrics_named()))
def test_metric_in_a_rule_exists(name: str) -> None:
    known = {metric.name for metric in (*CATALOGUE, *ARCHIVE_METRICS)} | {rule["record"] for rule in RECORDS}
    histograms = [metric.name for metric in CATALOGUE if metric.kind == "histogram"]
    known |= {f"{histogram}_{part}" for histogram in histograms for part in ("bucket", "sum", "count")}
    assert name in known


@each_rule
def test_labels_in_a_rule_exist(rule: dict[str, Any]) -> None:
    """In selectors, in by, on and group_left, where a wrong label would silently match or join nothing."""
    reader().labels(rule["expr"])
