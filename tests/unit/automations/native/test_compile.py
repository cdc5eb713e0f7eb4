"""From declarations to automations: which are created, shared, refused or only noted."""

from __future__ import annotations

import pytest

from prefect_monitoring.automations.native.compile import Compiled, Directory, compile_rules
from prefect_monitoring.model.automations import NotificationBlock
from prefect_monitoring.model.records import Pipeline
from prefect_monitoring.policy.pipelines_file import parse_pipelines
from prefect_monitoring.policy.resolve import Policies

DEPLOYMENTS = {
    Pipeline("etl", "daily"): "etl-daily",
    Pipeline("etl", "hourly"): "etl-hourly",
    Pipeline("refresh", "prod"): "refresh-prod",
}
BLOCKS = (
    NotificationBlock("b1", "ops", "slack-incoming-webhook", "Slack Incoming Webhook"),
    NotificationBlock("b2", "ops", "slack-webhook", "Slack Webhook"),
    NotificationBlock("b3", "incoming", "slack-incoming-webhook", "Slack Incoming Webhook"),
    NotificationBlock("b4", "on-call", "pager-duty-webhook", "Pager Duty Webhook"),
    NotificationBlock("b5", "chat", "discord-webhook", "Discord Webhook"),
)


def _compile(text: str, *more_pipelines: Pipeline) -> Compiled:
    policies = Policies(parse_pipelines(text, "p.yml"))
    declared = {pipeline: policies.of(pipeline, ()) for pipeline in (*DEPLOYMENTS, *more_pipelines)}
    return compile_rules(
        {pipeline: policy for pipeline, policy in declared.items() if policy is not None},
        Directory(DEPLOYMENTS, BLOCKS),
    )


def test_empty_pipelines_file_creates_no_automation() -> None:
    assert _compile("") == Compiled((), (), ())


def test_notify_shared_by_deployments_is_one_automation() -> None:
    compiled = _compile("defaults: {notify: {slack: ops, pagerduty: on-call}}")

    assert [rule.title for rule in compiled.rules] == [
        "Slack ops: failed or crashed runs",
        "PagerDuty on-call: failed or crashed runs",
    ]
    slack = compiled.rules[0]
    assert set(slack.deployment_ids) == set(DEPLOYMENTS.values())
    assert slack.labels == {"prefect.state-type": ("FAILED", "CRASHED")}, "by type: flows choose the names of states"
    assert slack.action["block_document_id"] == "b2", "a block type built into Prefect is preferred"
    assert (slack.threshold, slack.within) == (1, 0.0)
    assert compiled.faults == compiled.notes == ()


def test_notify_after_repeated_failures_counts_within_its_window() -> None:
    (rule,) = _compile(
        "pipelines: [{flow: etl, notify: {slack: incoming, states: [crashed], after_failures: 3, within: 1h}}]"
    ).rules

    assert rule.title == "Slack incoming: 3 runs of one deployment crashed within 1h"
    assert (rule.threshold, rule.within, rule.labels["prefect.state-type"]) == (3, 3600.0, ("CRASHED",))
    assert rule.deployment_ids == ("etl-daily", "etl-hourly")
    assert rule.action["subject"].startswith("3 failures within 1h: ")
    assert rule.action["block_document_id"] == "b3"


def test_notify_states_order_does_not_matter() -> None:
    compiled = _compile(
        "pipelines: [{flow: etl, notify: {slack: ops, states: [crashed, failed]}}, {flow: r.*, notify: {slack: ops}}]"
    )

    assert [len(rule.deployment_ids) for rule in compiled.rules] == [3]


def test_notifications_contain_no_state_message() -> None:
    (rule,) = _compile("defaults: {notify: {slack: ops}}").rules

    assert "state.message" not in rule.action["subject"] + rule.action["body"]


@pytest.mark.parametrize(
    ("notify", "fault"),
    [
        ("slack: opps", "there is no Slack webhook block named opps; did you mean ops?"),
        (
            "slack: chat",
            "there is no Slack webhook block named chat; the block chat is a Discord Webhook",
        ),
        ("slack: on-call", "there is no Slack webhook block named on-call; the block on-call is a Pager Duty Webhook"),
        ("pagerduty: zzz", "there is no PagerDuty webhook block named zzz"),
    ],
)
def test_notify_with_a_missing_block_is_a_fault(notify: str, fault: str) -> None:
    compiled = _compile(f"pipelines: [{{flow: etl, notify: {{{notify}}}}}]")

    assert (compiled.rules, compiled.faults) == ((), (f"notify.{notify.partition(':')[0]}: {fault}",))


def test_on_failure_by_prefect_pauses_and_resumes() -> None:
    compiled = _compile(
        "pipelines: [{flow: etl, deployment: daily,"
        " on_failure: {pause: [refresh/prod], resume_on_success: true, by: prefect}}]"
    )

    pause, resume = compiled.rules
    target = {"source": "selected", "deployment_id": "refresh-prod"}
    assert (pause.title, pause.action) == ("pause refresh/prod", {"type": "pause-deployment", **target})
    assert (resume.title, resume.action) == ("resume refresh/prod", {"type": "resume-deployment", **target})
    assert pause.deployment_ids == resume.deployment_ids == ("etl-daily",)
    assert (pause.labels, resume.labels) == (
        {"prefect.state-type": ("FAILED", "CRASHED")},
        {"prefect.state-type": ("COMPLETED",)},
    )


def test_on_failure_of_several_sources_shares_a_pause_without_resume() -> None:
    compiled = _compile(
        "pipelines: [{flow: etl, on_failure: {pause: [refresh/prod], resume_on_success: true, by: prefect}}]"
    )

    assert [(rule.title, rule.deployment_ids) for rule in compiled.rules] == [
        ("pause refresh/prod", ("etl-daily", "etl-hourly"))
    ]
    assert len(compiled.notes) == 1
    assert compiled.notes[0].startswith("refresh/prod is not resumed: 2 deployments pause it")


def test_on_failure_of_a_missing_deployment_is_one_fault() -> None:
    compiled = _compile("pipelines: [{flow: etl, on_failure: {pause: [refresh/prd], by: prefect}}]")

    assert compiled.faults == ("on_failure.pause: there is no deployment refresh/prd; did you mean refresh/prod?",)


def test_cancel_covers_late_runs_of_the_declared_deployments() -> None:
    (rule,) = _compile("pipelines: [{flow: etl, deployment: hourly, cancel: {when: late}}]").rules

    assert (rule.events, rule.action, rule.deployment_ids) == (
        ("prefect.flow-run.Late",),
        {"type": "cancel-flow-run"},
        ("etl-hourly",),
    )


def test_rule_that_prefect_cannot_run_safely_is_skipped_with_a_note() -> None:
    compiled = _compile(
        "pipelines: [{flow: etl, retry: {max: 3}, skip: {when_later_than: 2h}, on_failure: {pause: [refresh/prod]},"
        " scale: {when_running_longer_than: 1h, work_pool: p, concurrency: 3}}]"
    )

    assert compiled.rules == ()
    assert [note.partition(":")[0] for note in compiled.notes] == [
        "retry of 2 deployments is left to `serve --act`",
        "scale of 2 deployments is left to `serve --act`",
        "skip of 2 deployments is left to `serve --act`",
        "on_failure of 2 deployments is left to `serve --act`",
    ]


def test_retry_beside_a_native_rule_is_noted() -> None:
    compiled = _compile("pipelines: [{flow: etl, deployment: daily, retry: {max: 3}, notify: {slack: ops}}]")

    assert any(note.startswith("1 deployment with a retry: Prefect notifies") for note in compiled.notes)


def test_notify_of_runs_without_a_deployment_is_noted() -> None:
    compiled = _compile("pipelines: [{flow: script, deployment: '', notify: {slack: ops}}]", Pipeline("script", ""))

    assert compiled == Compiled((), (), ("notify of runs without a deployment does nothing: script",))
