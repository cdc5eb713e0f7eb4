"""Incidents from their first alert to the resolved message, at every receiver. Each test has its own workspace."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from support.alertmanager import Alertmanager, alert, impatient, start_alertmanager, start_inbox
from support.messages import ANNOTATIONS, ORDERS, attachment, buttons, page, silence_filters
from support.processes import wait_until

SECONDS_OF_SILENCE = 1.5  # three group intervals
TOO_LONG = {**ORDERS, "alertname": "PrefectRunTooLong", "severity": "warning"}
LONG = {
    "summary": "orders/nightly: running for too long",
    "description": "The oldest run has been running for 2h.",
    "runbook_url": "https://runbooks.test/PrefectRunTooLong.md",
    "run_url": "http://prefect.test/runs",
}


def every_receiver(config: dict[str, Any]) -> None:
    """Adds Teams and the webhook to Slack and PagerDuty."""
    for name in ("teams", "webhook"):
        route = {"matchers": ['severity=~"critical|warning"'], "receiver": name, "continue": True}
        config["route"]["routes"].insert(0, route)
    config["route"] |= {"group_wait": "500ms", "group_interval": "500ms"}
    impatient(config)


@pytest.fixture(scope="module")
def alertmanager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alertmanager]:
    directory = tmp_path_factory.mktemp("incidents")
    with start_inbox(directory) as inbox, start_alertmanager(directory, inbox, every_receiver) as running:
        yield running
        assert "level=error" not in running.process.output(), "every notification succeeded at the first attempt"


def last(alertmanager: Alertmanager, kind: str, workspace: str, status: str) -> dict[str, Any]:
    """The newest message, once one with that status has arrived and no other follows."""
    wait_until(
        lambda: alertmanager.inbox.messages(kind, workspace, status=status),
        60,
        f"{status} at {kind}",
        every=0.1,
    )
    time.sleep(SECONDS_OF_SILENCE)
    return alertmanager.inbox.messages(kind, workspace)[-1]


def test_slack_resolves_when_the_last_alert_of_a_pipeline_resolves(alertmanager: Alertmanager) -> None:
    failed, too_long = {**ORDERS, "workspace": "mixed"}, {**TOO_LONG, "workspace": "mixed"}
    alertmanager.post(too_long, annotations=LONG)
    alertmanager.post(failed, annotations=ANNOTATIONS, started=timedelta(minutes=1))
    last(alertmanager, "pagerduty", "mixed", "firing")
    slack = attachment(last(alertmanager, "slack", "mixed", "firing"))
    assert slack["title"] == "🔴 orders/nightly: run failed, no retries left (and 1 more)"
    alertmanager.post(failed, annotations=ANNOTATIONS, ended=True)
    assert last(alertmanager, "pagerduty", "mixed", "resolved")["body"]["event_action"] == "resolve"
    slack = attachment(alertmanager.inbox.messages("slack", "mixed")[-1])
    assert slack["title"] == "🟠 orders/nightly: running for too long"
    assert "Resolved: PrefectRunFailed" in slack["text"].splitlines()
    alertmanager.post(too_long, annotations=LONG, ended=True)
    resolved = attachment(last(alertmanager, "slack", "mixed", "resolved"))
    assert resolved["title"].startswith("✅ Resolved: orders/nightly")
    assert [message["status"] for message in alertmanager.inbox.messages("slack", "mixed")].count("resolved") == 1


def test_next_failed_run_is_a_new_message_without_a_second_page(alertmanager: Alertmanager) -> None:
    """The rules label the alert with the newest failed run: its alert replaces the one before."""
    first, second = ({**ORDERS, "workspace": "parallel", "flow_run_id": run} for run in ("run-1", "run-2"))
    alertmanager.post(first, annotations={**ANNOTATIONS, "run": "north"}, started=timedelta(minutes=1))
    assert "north" in attachment(last(alertmanager, "slack", "parallel", "firing"))["text"]
    alertmanager.send(alert(first, ANNOTATIONS, ended=True), alert(second, {**ANNOTATIONS, "run": "south"}))
    wait_until(lambda: len(alertmanager.inbox.messages("slack", "parallel")) > 1, 60, "a second message", every=0.1)
    time.sleep(SECONDS_OF_SILENCE)
    _, two = alertmanager.inbox.messages("slack", "parallel")
    text = attachment(two)["text"]
    assert "south" in text
    assert "north" not in text
    assert "Resolved" not in text
    pages = alertmanager.inbox.messages("pagerduty", "parallel")
    assert {sent["body"]["event_action"] for sent in pages} == {"trigger"}
    assert len({sent["body"]["dedup_key"] for sent in pages}) == 1, "one incident"
    alertmanager.post(second, annotations=ANNOTATIONS, ended=True)
    last(alertmanager, "slack", "parallel", "resolved")
    assert [message["status"] for message in alertmanager.inbox.messages("slack", "parallel")].count("resolved") == 1


def test_change_of_criticality_sends_no_resolved_message(alertmanager: Alertmanager) -> None:
    critical = {**ORDERS, "workspace": "changed"}
    standard = {**critical, "criticality": "standard", "severity": "warning"}
    low = {**standard, "criticality": "low"}
    alertmanager.post(critical, annotations=ANNOTATIONS, started=timedelta(minutes=1))
    last(alertmanager, "slack", "changed", "firing")
    alertmanager.post(standard, annotations=ANNOTATIONS)
    alertmanager.post(critical, annotations=ANNOTATIONS, ended=True)
    last(alertmanager, "pagerduty", "changed", "resolved")
    slack = attachment(alertmanager.inbox.messages("slack", "changed")[-1])
    assert slack["title"] == "🟠 orders/nightly: run failed, no retries left"
    assert "Resolved" not in slack["text"]
    assert "criticality standard" in slack["footer"]
    alertmanager.post(low, annotations=ANNOTATIONS)
    alertmanager.post(standard, annotations=ANNOTATIONS, ended=True)
    time.sleep(SECONDS_OF_SILENCE)
    assert {message["status"] for message in alertmanager.inbox.messages("slack", "changed")} == {"firing"}
    alertmanager.post(low, annotations=ANNOTATIONS, ended=True)
    last(alertmanager, "slack", "changed", "resolved")


def test_message_for_several_alerts_has_each_name_and_runbook(alertmanager: Alertmanager) -> None:
    failed, too_long = {**ORDERS, "workspace": "several"}, {**TOO_LONG, "severity": "critical", "workspace": "several"}
    alertmanager.post(failed, annotations=ANNOTATIONS)
    alertmanager.post(too_long, annotations=LONG)
    both = ("PrefectRunFailed", "PrefectRunTooLong")
    for kind in ("slack", "pagerduty", "teams"):
        wait_until(
            lambda kind=kind: all(
                name in json.dumps(alertmanager.inbox.messages(kind, "several")[-1:]) for name in both
            ),
            60,
            f"both at {kind}",
        )
    slack = last(alertmanager, "slack", "several", "firing")
    lines = attachment(slack)["text"].splitlines()
    assert lines[:2] == [
        f"• <{ANNOTATIONS['runbook_url']}|PrefectRunFailed> {ANNOTATIONS['summary']}",
        f"• <{LONG['runbook_url']}|PrefectRunTooLong> {LONG['summary']}",
    ]
    assert buttons(slack)["View run"] == ANNOTATIONS["run_url"], "rather than the list of runs"
    assert buttons(slack)["Runbook"] == ANNOTATIONS["runbook_url"]
    firing = page(alertmanager.inbox.messages("pagerduty", "several")[-1])["custom_details"]["firing"]
    for name, said in zip(both, (ANNOTATIONS, LONG), strict=True):
        assert f"[{name}] {said['summary']}\n{said['description']}\n{said['runbook_url']}" in firing
    text = attachment(alertmanager.inbox.messages("teams", "several")[-1])["text"]
    assert f"- [PrefectRunTooLong]({LONG['runbook_url']}) " in text


def test_link_to_several_runs_is_labelled_view_runs_and_no_text_repeats(alertmanager: Alertmanager) -> None:
    said = LONG | {"occurrences": "2", "description": "2 runs have been running for 2h."}
    alertmanager.post({**TOO_LONG, "severity": "critical", "workspace": "list"}, annotations=said)
    slack = last(alertmanager, "slack", "list", "firing")
    pager = last(alertmanager, "pagerduty", "list", "firing")
    assert buttons(slack)["View runs"] == LONG["run_url"]
    assert pager["body"]["links"][0]["text"] == "View runs"
    shown = attachment(slack)
    assert shown["text"].splitlines() == [said["description"], "*Flow*  `orders`  *Deployment*  `nightly`"]
    details = page(pager)["custom_details"]
    assert details["firing"].splitlines() == [f"[PrefectRunTooLong] {said['description']}", LONG["runbook_url"]]


def test_alerts_with_equal_texts_are_merged(alertmanager: Alertmanager) -> None:
    """A pool without workers has one alert for each criticality of the waiting runs."""
    pool = {"alertname": "PrefectPoolWithoutWorkers", "workspace": "pools", "work_pool": "kube", "severity": "critical"}
    said = {"summary": "Work pool kube: late runs and no worker online", "description": "Late runs: 2."}
    both = [pool | {"criticality": criticality} for criticality in ("critical", "standard")]
    alertmanager.post(*both, annotations=said)
    shown = attachment(last(alertmanager, "slack", "pools", "firing"))
    assert shown["title"] == f"🔴 {said['summary']}"
    assert shown["text"].count("Late runs") == 1
    assert said["summary"] not in shown["text"]
    pager = page(last(alertmanager, "pagerduty", "pools", "firing"))
    assert pager["summary"] == said["summary"]
    assert pager["custom_details"]["firing"].count("Late runs") == 1
    card = attachment(last(alertmanager, "teams", "pools", "firing"))
    assert card["title"] == f"🔴 {said['summary']}"
    assert card["text"].count("Late runs") == 1


def test_silence_covers_later_alerts_of_the_pipeline(alertmanager: Alertmanager) -> None:
    alertmanager.post({**TOO_LONG, "state": "x", "workspace": "silenced"}, annotations=LONG)
    link = buttons(last(alertmanager, "slack", "silenced", "firing"))["Silence"]
    parts = [re.fullmatch(r'(\w+)="([^"]*)"', matcher) for matcher in silence_filters(link)]
    matchers = [{"name": part[1], "value": part[2], "isRegex": False, "isEqual": True} for part in parts if part]
    alertmanager.silence(matchers)
    alertmanager.post({**ORDERS, "criticality": "standard", "severity": "warning", "workspace": "silenced"})
    alertmanager.post({**ORDERS, "deployment": "hourly", "workspace": "silenced"})

    def silenced() -> set[tuple[str, bool]]:
        alerts = alertmanager.alerts('workspace="silenced"')
        return {(alert["labels"]["alertname"], bool(alert["status"]["silencedBy"])) for alert in alerts}

    wanted = {("PrefectRunTooLong", True), ("PrefectRunFailed", True), ("PrefectRunFailed", False)}
    wait_until(lambda: silenced() == wanted, 60, "both of nightly silenced, hourly not")


HOSTILE = "<!channel> <@U1> <b>bold</b> [click](https://evil.test) **bold** `code` | &lt; !"


def test_every_receiver_shows_run_and_error_with_markup_escaped(alertmanager: Alertmanager) -> None:
    hostile = {**ORDERS, "workspace": "hostile"}
    alertmanager.post(hostile, annotations=ANNOTATIONS | {"error": HOSTILE, "run": HOSTILE})
    slack = attachment(last(alertmanager, "slack", "hostile", "firing"))
    in_code = HOSTILE.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("`", "'")
    assert f"*Error*  `{in_code}`" in slack["text"].splitlines()
    assert f"*Run*  `{in_code[:80]}" in slack["text"]
    details = page(last(alertmanager, "pagerduty", "hostile", "firing"))["custom_details"]
    assert details["error"] == details["run"] == f"`{HOSTILE}`"

    card = last(alertmanager, "teams", "hostile", "firing")["body"]["attachments"][0]
    assert card["title"] == "🔴 orders/nightly: run failed, no retries left"
    escaped = re.sub(r"([\\`*_{}\[\]()#<>&~|])", r"\\\1", HOSTILE)
    assert f"**Error** {escaped}" in card["text"].splitlines()
    assert f"[View run]({ANNOTATIONS['run_url']}) · [Logs]" in card["text"]
    assert "[Silence](http://127.0.0.1" in card["text"]

    sent = last(alertmanager, "webhook", "hostile", "firing")["body"]
    assert sent["groupLabels"] == {"workspace": "hostile", "flow": "orders", "deployment": "nightly"}
    (alert,) = sent["alerts"]
    assert (alert["annotations"]["error"], alert["annotations"]["run_url"]) == (HOSTILE, ANNOTATIONS["run_url"])

    alertmanager.post(hostile, annotations=ANNOTATIONS, ended=True)
    assert last(alertmanager, "webhook", "hostile", "resolved")["body"]["status"] == "resolved"
    card = attachment(last(alertmanager, "teams", "hostile", "resolved"))
    assert card["title"].startswith("✅ Resolved: orders/nightly")
    assert "**Lasted** " in card["text"]
    assert "[Silence]" not in card["text"], "a resolved alert needs no silence"
