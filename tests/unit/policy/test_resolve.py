"""Which policy applies to a pipeline: entry, then tags, then defaults."""

from __future__ import annotations

import pytest

from prefect_monitoring.model.records import Pipeline
from prefect_monitoring.policy.lint import coverage, idle_entries, idle_rules, unmeasurable
from prefect_monitoring.policy.pipelines_file import parse_pipelines
from prefect_monitoring.policy.resolve import Policies, Policy

PROD = Pipeline("etl", "prod")


def _policies(text: str = "") -> Policies:
    return Policies(parse_pipelines(text, "p.yml"))


def _of(text: str, *tags: str, pipeline: Pipeline = PROD) -> Policy:
    policy = _policies(text).of(pipeline, tags)
    assert policy is not None
    return policy


def test_undeclared_pipeline_has_the_defaults() -> None:
    assert _of("") == Policy("standard", "", (), {}, 0.99, 30 * 86400, 1800)


def test_only_the_first_matching_entry_applies() -> None:
    text = "pipelines:\n- {flow: e.., team: first}\n- {flow: etl, team: second, criticality: critical}"

    assert (_of(text).team, _of(text).criticality) == ("first", "standard")


@pytest.mark.parametrize(
    ("flow", "deployment", "pipeline", "matches"),
    [
        ("etl", ".+", Pipeline("etl", "prod"), True),
        ("et", ".+", Pipeline("etl", "prod"), False),
        ("etl", "pr", Pipeline("etl", "prod"), False),
        ("etl", "prod|test", Pipeline("etl", "test"), True),
        (".*", ".+", Pipeline("two\nlines", "x"), True),
        ("etl", "''", Pipeline("etl", ""), True),
        ("etl", "''", Pipeline("etl", "prod"), False),
        ("etl", ".*", Pipeline("etl", ""), True),
    ],
)
def test_pattern_matches_whole_names(flow: str, deployment: str, pipeline: Pipeline, matches: bool) -> None:
    policies = _policies(f"pipelines: [{{flow: '{flow}', deployment: {deployment}, team: t}}]")

    policy = policies.of(pipeline, ())
    assert (policy is not None and policy.team == "t") is matches


def test_alert_on_single_failures_comes_from_the_entry_or_the_defaults() -> None:
    text = "defaults: {alert_on: streak}\npipelines: [{flow: etl, alert_on: each}]"

    assert _of(text).alert_on == "each"
    assert _of(text, pipeline=Pipeline("other", "prod")).alert_on == "streak"
    assert _of("").alert_on == "each"


def test_runs_without_a_deployment_are_declared_only_by_name() -> None:
    assert _policies("pipelines: [{flow: etl}]").of(Pipeline("etl", ""), ()) is None
    assert _policies("pipelines: [{flow: etl, deployment: ''}]").of(Pipeline("etl", ""), ()) is not None


def test_entry_overrides_tags_and_tags_override_defaults() -> None:
    text = "defaults: {criticality: low, team: d, labels: {domain: d, region: d}}\n"
    entry = "pipelines: [{flow: etl, criticality: standard, team: e, labels: {domain: e}}]"
    tags = ("critical", "team:t", "domain:t", "env:t")

    bare = _of(text)
    tagged = _of(text, *tags)
    declared = _of(text + entry, *tags)
    assert (bare.criticality, bare.team, bare.labels) == ("low", "d", {"domain": "d", "region": "d"})
    assert (tagged.criticality, tagged.team) == ("critical", "t")
    assert tagged.labels == {"domain": "t", "region": "d", "env": "t"}
    assert (declared.criticality, declared.team) == ("standard", "e")
    assert declared.labels == {"domain": "e", "region": "d", "env": "t"}


def test_objectives_are_resolved_one_by_one() -> None:
    policy = _of(
        "defaults: {slo: {window: 7d, grace: 1h}, max_pause: 2d}\n"
        "pipelines: [{flow: etl, slo: {grace: 1m, max_duration: 1h}}]"
    )

    assert (policy.window, policy.grace, policy.max_duration, policy.objective) == (7 * 86400, 60, 3600, 0.99)
    assert (policy.max_pause, policy.max_staleness) == (2 * 86400, None)


@pytest.mark.parametrize(
    ("tags", "criticality", "team", "bare", "labels"),
    [
        (("low", "critical"), "critical", "", (), {}),
        (("criticality:low",), "low", "", (), {}),
        (("criticality:huge",), "standard", "", (), {}),
        (("team:b", "team:a"), "standard", "a", (), {}),
        (("team:", "daily", "dbt"), "standard", "", ("daily", "dbt", "team:"), {}),
        (("workspace:x", "severity:critical", "__a:b"), "standard", "", (), {}),
        (("url:http://x/y",), "standard", "", (), {"url": "http://x/y"}),
    ],
)
def test_tags_declare_the_same_as_an_entry(
    tags: tuple[str, ...], criticality: str, team: str, bare: tuple[str, ...], labels: dict[str, str]
) -> None:
    policy = _of("", *tags)

    assert (policy.criticality, policy.team, policy.tags, policy.labels) == (criticality, team, bare, labels)


def test_unreachable_entries_are_noted() -> None:
    file = parse_pipelines("pipelines: [{flow: e.*}, {flow: etl}, {flow: gone}]", "p.yml")

    advice = list(idle_entries(file, {PROD, Pipeline("etl", ""), Pipeline("extra", "x")}))
    assert [one.split(" (")[0] for one in advice] == ["entry 2", "entry 3"]
    assert "never applies" in advice[0]
    assert "matches nothing that exists" in advice[1]


def test_objective_that_allows_no_failure_is_noted() -> None:
    file = parse_pipelines("pipelines: [{flow: etl, slo: {min_success_ratio: 99%}}]", "p.yml")

    advice = list(unmeasurable(file, {PROD: 30, Pipeline("etl", "hourly"): 720}))
    assert advice == [
        "etl/prod: 0.99 of 30 runs in 30d allows 0.3 failures: one failure exceeds it, and PrefectBudgetSpent"
        " fires at the second; a longer window or a lower ratio can be measured"
    ]


def test_objective_of_the_defaults_is_noted_once() -> None:
    file = parse_pipelines("defaults: {slo: {min_success_ratio: 90%}}\npipelines: [{flow: own}]", "p.yml")

    runs = {Pipeline("own", "x"): 1, **{Pipeline(f"f{number}", "d"): number for number in range(20)}}
    advice = list(unmeasurable(file, runs))
    assert advice == [
        "own/x: 0.9 of 1 runs in 30d allows 0.1 failures: one failure exceeds it, and PrefectBudgetSpent"
        " fires at the second; a longer window or a lower ratio can be measured",
        "defaults: 0.9 of the runs in 30d allows less than one failure in each of 10 deployments,"
        " such as f0/d (0 runs), f1/d (1 runs), f2/d (2 runs): one failure exceeds it, and PrefectBudgetSpent"
        " fires at the second; a longer window or a lower ratio can be measured",
    ]


def test_rule_of_an_entry_replaces_the_default_rule_and_tags_declare_no_rules() -> None:
    text = "defaults: {retry: {max: 2, delay: 1m}, skip: {when_later_than: 1h}}\n"
    entry = "pipelines: [{flow: etl, retry: {max: 3}}, {flow: disabled, retry: {max: 0}}]"

    default, declared, off = _of(text), _of(text + entry), _of(text + entry, pipeline=Pipeline("disabled", "prod"))
    assert default.retry is not None
    assert (default.retry.max, default.retry.delay) == (2, 60)
    assert declared.retry is not None
    assert (declared.retry.max, declared.retry.delay) == (3, 300)
    assert declared.skip == default.skip is not None
    assert off.retry is None
    assert _of("", "retry:3", "skip:1h").retry is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", (False, False)),
        ("defaults: {unresponsive: {mark: crashed}}", (True, False)),
        ("defaults: {unresponsive: {mark: crashed}, retry_unresponsive: true}", (True, True)),
        (
            "defaults: {retry_unresponsive: true}\n"
            "pipelines: [{flow: etl, unresponsive: {mark: crashed}, retry_unresponsive: false}]",
            (True, False),
        ),
    ],
)
def test_entry_declares_whether_unresponsive_runs_are_marked_and_retried(
    text: str, expected: tuple[bool, bool]
) -> None:
    policy = _of(text)
    assert (policy.unresponsive is not None, policy.retry_unresponsive) == expected


def test_default_rules_do_not_cover_runs_without_a_deployment() -> None:
    text = "defaults: {retry: {max: 2}, skip: {when_later_than: 1h}}\npipelines: [{flow: etl, deployment: .*}]"

    policy = _of(text, pipeline=Pipeline("etl", ""))
    assert (policy.retry, policy.skip) == (None, None)


def test_coverage_counts_the_deployments_of_each_declared_rule() -> None:
    text = (
        "defaults: {retry: {max: 2}}\n"
        "pipelines:\n- {flow: etl, retry: {max: 0}, skip: {when_later_than: 1h}}\n"
        "- {flow: none, on_failure: {pause: [a/b]}}\n"
        "- {flow: ml, deployment: .*, unresponsive: {mark: crashed}}"
    )
    pipelines = [PROD, Pipeline("etl", "test"), Pipeline("etl", ""), Pipeline("ml", "prod"), Pipeline("ml", "")]

    assert list(coverage(parse_pipelines(text, "p.yml"), pipelines)) == [
        "retry covers 1 deployment",
        "on_failure covers 0 deployments",
        "skip covers 2 deployments",
        "unresponsive covers 2 pipelines",
    ]


def test_rules_about_missing_objects_are_noted() -> None:
    scale = "scale: {when_running_longer_than: 1h, concurrency: 9, work_pool"
    text = (
        f"pipelines:\n- {{flow: a, on_failure: {{pause: [etl/prod, etl/gone]}}, {scale}: gone}}}}\n"
        f"- {{flow: b, {scale}: endless}}}}\n- {{flow: c, {scale}: limited}}}}"
    )

    assert list(idle_rules(parse_pipelines(text, "p.yml"), [PROD], {"limited": 3, "endless": None})) == [
        "entry 1 (flow: a) pauses etl/gone, which does not exist",
        "entry 1 (flow: a) scales the work pool gone, which does not exist",
        "entry 2 (flow: b) scales the work pool endless, which has no limit to raise",
    ]
