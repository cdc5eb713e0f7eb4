"""Messages to Slack and PagerDuty: a real Alertmanager with the shipped routes and templates, and a stand-in inbox."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.alertmanager import Alertmanager, Inbox, impatient, start_alertmanager, start_inbox
from support.messages import ANNOTATIONS, ORDERS, RUN, attachment, buttons, links, page, silence_filters
from support.processes import wait_until

SECONDS_OF_SILENCE = 1.5  # three group intervals


@pytest.fixture
def inbox(tmp_path: Path) -> Iterator[Inbox]:
    with start_inbox(tmp_path) as running:
        yield running


@pytest.fixture
def alertmanager(tmp_path: Path, inbox: Inbox) -> Iterator[Alertmanager]:
    with start_alertmanager(tmp_path, inbox, impatient) as running:
        yield running
        assert "level=error" not in running.process.output(), "every notification succeeded at the first attempt"


def one_each(inbox: Inbox, status: str, before: int = 0) -> tuple[dict[str, Any], dict[str, Any]]:
    """The single new message to Slack and to PagerDuty after the first `before` ones; fails if more follow."""
    inbox.wait_for(before + 2)
    time.sleep(SECONDS_OF_SILENCE)
    new = sorted(inbox.messages()[before:], key=lambda message: str(message["kind"]))
    assert [(message["kind"], message["status"]) for message in new] == [("pagerduty", status), ("slack", status)]
    return new[1], new[0]


def test_critical_failure_is_reported_and_resolved(alertmanager: Alertmanager, inbox: Inbox) -> None:
    alertmanager.post(ORDERS, annotations=ANNOTATIONS, started=timedelta(minutes=1))
    slack, pager = one_each(inbox, "firing")
    assert slack["channel"] == "#data-alerts"
    shown = attachment(slack)
    assert shown["title"] == shown["fallback"] == "🔴 orders/nightly: run failed, no retries left"
    assert shown["title_link"] == RUN
    assert shown["color"] == "#d72b3f"
    assert shown["text"].splitlines() == [
        "Failed runs that are unresolved: 1.",
        "*Flow*  `orders`  *Deployment*  `nightly`",
        "*Run*  `quick-otter`",
        "*Error*  `ValueError: no rows in *orders*`",
        "*State*  failed",
        "*Cause*  `database: connection refused`",
        "*Since*  2026-11-23 04:00:00 UTC",
        "*How often*  3 in a row",
        "*Budget left*  2 of 3 runs",
    ]
    who = ["severity critical", "criticality critical", "team growth", "workspace production"]
    assert shown["footer"].split(" · ") == ["PrefectRunFailed", *who]
    assert list(buttons(slack)) == ["View run", "Logs", "Dashboard", "Runbook", "Silence"]
    assert buttons(slack)["Logs"] == f"{RUN}?tab=Logs"
    assert buttons(slack)["Dashboard"] == ANNOTATIONS["dashboard_url"]

    assert pager["body"]["event_action"] == "trigger"
    assert {name: fact for name, fact in page(pager).items() if name != "custom_details"} == {
        "summary": "orders/nightly: run failed, no retries left",
        "severity": "critical",
        "source": "production",
        "component": "orders/nightly",
        "group": "growth",
        "class": "PrefectRunFailed",
    }
    details = page(pager)["custom_details"]
    assert (details["state"], details["cause"], details["budget_left"]) == (
        "failed",
        "`database: connection refused`",
        "2 of 3 runs",
    )
    assert links(pager) == buttons(slack)
    assert pager["body"]["client"] == "prefect-monitoring"

    alertmanager.post(ORDERS, annotations=ANNOTATIONS, ended=True)
    slack, resolved = one_each(inbox, "resolved", before=2)
    shown = attachment(slack)
    assert shown["title"] == "✅ Resolved: orders/nightly: run failed, no retries left"
    assert shown["color"] == "#2eb67d"
    assert re.search(r"^\*Lasted\*  1m\d+s, until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC$", shown["text"], re.MULTILINE)
    assert "*Cause was*  `database: connection refused`" in shown["text"]
    assert list(buttons(slack)) == ["View run", "Logs", "Dashboard", "Runbook"], "a resolved alert needs no silence"
    assert resolved["body"]["event_action"] == "resolve"
    assert resolved["body"]["dedup_key"] == pager["body"]["dedup_key"]


def test_each_deployment_is_a_separate_incident(alertmanager: Alertmanager, inbox: Inbox) -> None:
    alertmanager.post(ORDERS, {**ORDERS, "deployment": "hourly"}, {**ORDERS, "alertname": "PrefectRunTooLong"})
    pages = inbox.wait_for(2, "pagerduty")
    assert len({message["body"]["dedup_key"] for message in pages}) == 2
    both = next(message for message in pages if page(message)["component"] == "orders/nightly")
    assert set(page(both)["class"].split(", ")) == {"PrefectRunFailed", "PrefectRunTooLong"}
    assert page(both)["summary"].endswith("(and 1 more)")


def test_missing_facts_are_left_out(alertmanager: Alertmanager, inbox: Inbox) -> None:
    bare = {"alertname": "PrefectRunFailed", "flow": "orders", "severity": "critical"}
    urls = {"runbook_url": "docs/runbooks/PrefectRunFailed.md", "dashboard_url": "", "run_url": "/runs/flow-run/0b1c"}
    alertmanager.post(bare, annotations=urls)
    slack, pager = one_each(inbox, "firing")
    assert list(buttons(slack)) == list(links(pager)) == ["Silence"]
    shown = attachment(slack)
    assert shown["title"] == "🔴 PrefectRunFailed, orders"
    assert shown["text"] == "*Flow*  `orders`\n*Runbook*  `docs/runbooks/PrefectRunFailed.md`\n"
    assert "title_link" not in shown
    assert page(pager)["summary"] == "PrefectRunFailed orders"
    assert (page(pager)["component"], page(pager)["source"], page(pager)["group"]) == ("orders", "prefect", "prefect")
    assert "no value" not in json.dumps([slack, pager])


def test_standard_failure_goes_to_the_channel_of_its_team_and_does_not_page(
    alertmanager: Alertmanager, inbox: Inbox
) -> None:
    standard = {**ORDERS, "severity": "warning", "criticality": "standard"}
    alertmanager.post({**standard, "team": "example-team"}, {**standard, "flow": "others"}, annotations=ANNOTATIONS)
    inbox.wait_for(2)
    time.sleep(SECONDS_OF_SILENCE)
    assert [message["kind"] for message in inbox.messages()] == ["slack", "slack"]
    assert {message["channel"] for message in inbox.messages()} == {"#example-team", "#data-alerts"}
    assert {attachment(message)["color"] for message in inbox.messages()} == {"#f2a900"}


def test_escalation_pages_another_service_and_resends_nothing(alertmanager: Alertmanager, inbox: Inbox) -> None:
    repeated = {**ORDERS, "alertname": "PrefectRepeatedFailure"}
    still = {**ORDERS, "alertname": "PrefectStillFailing", "escalated": "yes"}
    alertmanager.post(repeated, annotations=ANNOTATIONS)
    one_each(inbox, "firing")
    alertmanager.post(repeated, still, annotations=ANNOTATIONS)
    slack, pager = one_each(inbox, "firing", before=2)
    assert "severity critical, escalated" in attachment(slack)["footer"]
    assert pager["channel"] == "pagerduty-escalation-key"


def test_standard_pipeline_that_still_fails_is_reported_again_in_its_channel(
    alertmanager: Alertmanager, inbox: Inbox
) -> None:
    standard = {**ORDERS, "severity": "warning", "criticality": "standard"}
    alertmanager.post(standard, annotations=ANNOTATIONS)
    inbox.wait_for(1)
    still = {**standard, "alertname": "PrefectStillFailing"}
    alertmanager.post(standard, still, annotations=ANNOTATIONS | {"summary": "orders/nightly: still failing"})
    inbox.wait_for(2)
    time.sleep(SECONDS_OF_SILENCE)
    assert [(message["kind"], message["channel"]) for message in inbox.messages()] == [("slack", "#data-alerts")] * 2
    assert attachment(inbox.messages()[-1])["title"] == "🟠 orders/nightly: still failing"


def test_api_down_sends_one_page_and_resolves_nothing(alertmanager: Alertmanager, inbox: Inbox) -> None:
    alertmanager.post(ORDERS, annotations=ANNOTATIONS)
    inbox.wait_for(2)
    down = {"alertname": "PrefectApiDown", "workspace": "production", "severity": "critical"}
    flows = [{**ORDERS, "alertname": "PrefectNotSucceeded", "flow": f"flow-{number}"} for number in range(50)]
    alertmanager.post(ORDERS, annotations=ANNOTATIONS)
    alertmanager.post(down, *flows, annotations={"summary": "Prefect production: the API does not answer"})
    slack, _ = one_each(inbox, "firing", before=2)
    assert attachment(slack)["title"] == "🔴 Prefect production: the API does not answer"
    alertmanager.post(*flows, ended=True)
    alertmanager.post(down, ended=True)
    one_each(inbox, "resolved", before=4)
    alertmanager.post(ORDERS, annotations=ANNOTATIONS, ended=True)
    one_each(inbox, "resolved", before=6)


def test_watchdog_repeats_to_the_dead_mans_switch_alone(alertmanager: Alertmanager, inbox: Inbox) -> None:
    alertmanager.post({"alertname": "PrefectWatchdog", "severity": "none"})
    inbox.wait_for(3, "heartbeat")
    assert inbox.messages() == []
    assert {message["status"] for message in inbox.messages("heartbeat")} == {"firing"}
    alertmanager.post({"alertname": "PrefectWatchdog", "severity": "none"}, ended=True)
    time.sleep(SECONDS_OF_SILENCE)
    before = len(inbox.messages("heartbeat"))
    time.sleep(SECONDS_OF_SILENCE)
    assert {message["status"] for message in inbox.messages("heartbeat")} == {"firing"}, "resolved must not be sent"
    assert len(inbox.messages("heartbeat")) == before


# --- escaping, secrets, sizes --------------------------------------------------------------------------------------


NAMES = {
    "markup": "<b>orders</b> & <!channel> <https://evil.test|click>",
    "entities": "&lt;orders&amp;",
    "quotes": """or"der's `x` \\ \\" {{ .Status }} $1 ${1}""",
    "emoji": "🦆" * 200,
    "long": "x" * 200,
    "ampersands": "&" * 200,
    "lines": "orders\n*Cause*  nothing\r\tat all",
    "turned": "orders \u202egpj.exe",
    "regexp": "a.b*c+d?(e)[f]{g}^h$|i",
    "plus": "a+b c%20d#e?f=g",
}
SECRETS = [
    ("could not open https://user:hunter2@db.test/path", "hunter2"),
    ("postgresql+asyncpg://user:hun/ter2@x!@db.test:5432/orders failed", "ter2"),
    ("redis://:hunter2<>\"'@cache.test", "hunter2"),
    ("GET https://api.test/v1?token=hunter2&page=2", "hunter2"),
    ("GET https://api.test/v1?page=2&sig=hunter2%3D&x=1", "hunter2"),
    ("password=hunter2;Server=db", "hunter2"),
    ("Password: 'hunter2 and more'", "hunter2 and more"),
    ('{"api_key": "hunter2", "x": 1}', "hunter2"),
    ('{\\"client_secret\\": \\"hunter2\\"}', "hunter2"),
    ("AWS_SECRET_ACCESS_KEY=hunter2 not accepted", "hunter2"),
    ("DB_PASSWORD => hunter2", "hunter2"),
    ("token%3Dhunter2", "hunter2"),
    ("Authorization: Basic aHVudGVyMg==", "aHVudGVyMg"),
    ("{'Authorization': 'Bearer hunter2-hunter2'}", "hunter2"),
    ("got bearer hunter2.hunter2 refused", "hunter2.hunter2"),
    ("curl --token hunter2", "hunter2"),
    ("PREFECT_API_KEY pnu_abcdefghijklmnop012345 is not valid", "pnu_abc"),
    ("xoxb-1234567890-abcdefghij", "1234567890-abc"),
    ("ghp_abcdefghijklmnop0123456789", "abcdefghij"),
    ("AKIAABCDEFGHIJKLMNOP", "ABCDEFGHIJ"),
    ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", "c2ln"),
    ("https://hooks.slack.com/services/T0/B0/hunter2", "hunter2"),
    ("-----BEGIN RSA PRIVATE KEY-----\nhunter2\n-----END RSA PRIVATE KEY-----", "hunter2"),
    ("-----BEGIN PRIVATE KEY----- hunter2 (cut off", "hunter2"),
    (f"{'x' * 380} https://user:{'hunter2' * 10}@db.test/", "hunter2"),  # where the text is cut
    (f"{'x' * 985} https://user:{'hunter2' * 10}@db.test/", "hunter2"),
]
HARMLESS = [
    "duplicate key value violates unique constraint: Key (id)=(5) already exists",
    "HTTP 503 from https://api.test/v1/orders?page=2: try again",
    "token expired at 04:00, secrets are rotated; password authentication failed for user etl",
    "a@b.test is no recipient; rate 3 > 2 & 5 < 6",
]


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alertmanager]:
    """An Alertmanager that has sent messages for all of the above, each in a separate workspace."""
    directory = tmp_path_factory.mktemp("lasting")
    with start_inbox(directory) as inbox, start_alertmanager(directory, inbox, impatient) as running:
        for number, name in enumerate(NAMES.values()):
            labels = {**ORDERS, "flow": name, "deployment": name, "team": name, "workspace": f"names {number}"}
            running.post(labels, annotations={**ANNOTATIONS, "summary": f"{name}: run failed", "cause": name})
        for number, (text, _) in enumerate(SECRETS):
            facts = dict.fromkeys(("cause", "state", "since", "occurrences", "budget_left", "run", "error"), text)
            sentences = {"description": f"It said: {text}", "summary": f"failed: {text}"}
            running.post({**ORDERS, "workspace": f"secrets {number}"}, annotations=facts | sentences)
        for number, text in enumerate(HARMLESS):
            running.post({**ORDERS, "workspace": f"harmless {number}"}, annotations={"cause": text})
        inbox.wait_for(2 * (len(NAMES) + len(SECRETS) + len(HARMLESS)))
        time.sleep(SECONDS_OF_SILENCE)
        yield running
        assert "level=error" not in running.process.output()


def both_in(alertmanager: Alertmanager, workspace: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The only message of a workspace to Slack, and to PagerDuty."""
    slack = [message for message in alertmanager.inbox.messages("slack") if workspace == workspace_of(message)]
    pager = [message for message in alertmanager.inbox.messages("pagerduty") if workspace == page(message)["source"]]
    assert (len(slack), len(pager)) == (1, 1)
    return slack[0], pager[0]


def workspace_of(slack: dict[str, Any]) -> str:
    return str(attachment(slack)["footer"].rpartition(" workspace ")[2])


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_names_are_escaped(lasting: Alertmanager, name: str) -> None:
    workspace = f"names {list(NAMES.values()).index(name)}"
    slack, pager = both_in(lasting, workspace)
    shown = attachment(slack)
    for where in ("title", "text", "footer", "fallback"):
        assert not re.search(r"[<>\u202e]|&(?!(?:amp|lt|gt);)", shown[where]), where
    assert shown["text"].count("*Cause*  `") == 1
    assert len(shown["text"].splitlines()) == 9
    plain = " ".join(name.replace("\u202e", "").split())
    assert page(pager)["component"] == f"{plain}/{plain}"
    assert not [detail for detail in page(pager)["custom_details"].values() if read_as_yaml(detail)]
    in_code = plain.replace("`", "'").replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    flow = re.search(r"^\*Flow\*  `([^`]+)`  \*Deployment\*  `([^`]+)`$", shown["text"], re.MULTILINE)
    assert flow
    assert flow[1] == flow[2]
    assert in_code.startswith(flow[1].removesuffix("…"))
    assert flow[1] == in_code or len(flow[1]) > 140
    silenced = lasting.alerts(*silence_filters(buttons(slack)["Silence"]))
    assert [alert["labels"]["flow"] for alert in silenced] == [name]


def read_as_yaml(detail: str) -> bool:
    """Whether Alertmanager 0.30 and newer would parse it into an object or a list."""
    try:
        return isinstance(yaml.safe_load(detail), dict | list)
    except yaml.YAMLError:
        return False


def test_silence_link_silences_this_pipeline_alone(alertmanager: Alertmanager, inbox: Inbox) -> None:
    adhoc = {name: value for name, value in ORDERS.items() if name != "deployment"}
    alertmanager.post(adhoc, ORDERS, {**adhoc, "flow": "others"}, {**adhoc, "workspace": "staging"})
    messages = inbox.wait_for(4, "slack")
    wanted = "workspace production"
    link = next(
        buttons(message)["Silence"]
        for message in messages
        if wanted in attachment(message)["footer"] and attachment(message)["text"] == "*Flow*  `orders`\n"
    )
    matchers = [re.fullmatch(r'(\w+)(=~?)"([^"]*)"', matcher) for matcher in silence_filters(link)]
    alertmanager.silence(
        [
            {"name": matcher[1], "value": matcher[3], "isRegex": matcher[2] == "=~", "isEqual": True}
            for matcher in matchers
            if matcher
        ]
    )

    def silenced() -> list[dict[str, Any]]:
        return [alert for alert in alertmanager.alerts() if alert["status"]["silencedBy"]]

    (alert,) = wait_until(silenced, 60, "a silenced alert")
    assert alert["labels"] == adhoc


def test_silence_link_of_a_platform_alert_silences_no_pipeline(alertmanager: Alertmanager, inbox: Inbox) -> None:
    platform = {"severity": "critical", "workspace": "production"}
    old = {**platform, "alertname": "PrefectNumbersOld", "source": "finished_flow_runs"}
    alertmanager.post(old, {**platform, "alertname": "PrefectPoolWithoutWorkers", "work_pool": "kube"}, ORDERS)
    messages = inbox.wait_for(3, "slack")  # separate messages, because each resolves separately
    for name in ("PrefectNumbersOld", "PrefectPoolWithoutWorkers"):
        (message,) = [message for message in messages if name in attachment(message)["footer"]]
        filters = silence_filters(buttons(message)["Silence"])
        assert {'flow=""', 'deployment=""'} < set(filters)
        assert {alert["labels"]["alertname"] for alert in alertmanager.alerts(*filters)} == {name}


@pytest.mark.parametrize(("text", "secret"), SECRETS, ids=[f"{n}-{text[:24]}" for n, (text, _) in enumerate(SECRETS)])
def test_secrets_are_masked(lasting: Alertmanager, text: str, secret: str) -> None:
    workspace = f"secrets {SECRETS.index((text, secret))}"
    slack, pager = both_in(lasting, workspace)
    assert secret not in json.dumps([slack, pager], ensure_ascii=False)
    assert "***" in page(pager)["custom_details"]["cause"]


@pytest.mark.parametrize("number", range(len(HARMLESS)))
def test_harmless_text_is_not_masked(lasting: Alertmanager, number: int) -> None:
    slack, pager = both_in(lasting, f"harmless {number}")
    assert page(pager)["custom_details"]["cause"] == f"`{HARMLESS[number]}`"
    escaped = HARMLESS[number].replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert f"*Cause*  `{escaped}`" in attachment(slack)["text"]


def test_digest_of_fifty_flows_lists_ten_and_counts_the_rest(alertmanager: Alertmanager, inbox: Inbox) -> None:
    info = {
        "alertname": "PrefectGettingSlower",
        "severity": "info",
        "criticality": "standard",
        "workspace": "production",
    }
    for number in range(50):
        alertmanager.post(
            {**info, "flow": f"flow-{number:02}"},
            annotations={
                "summary": f"flow-{number:02}: " + "&" * 300,
                "runbook_url": "https://runbooks.test/PrefectGettingSlower.md",
                "dashboard_url": f"http://grafana.test/x/d/prefect-flow?var-workspace=production&var-flow={number}",
            },
        )
    (message,) = settled(inbox, lambda: len(alertmanager.alerts()) == 50)
    shown = attachment(message)
    assert shown["title"].endswith("workspace production: 50 alerts")
    lines = shown["text"].splitlines()
    assert len(lines) == 11
    runbook = "<https://runbooks.test/PrefectGettingSlower.md|PrefectGettingSlower>"
    assert all(re.match(rf"• {re.escape(runbook)} flow-\d\d: &amp;", line) for line in lines[:10])
    assert lines[10] == "… and 40 more"
    assert len(shown["text"]) <= 3000
    assert list(buttons(message)) == ["Dashboard", "Runbook", "Silence"], "no button links to a single flow"
    assert buttons(message)["Dashboard"] == "http://grafana.test/x/d/prefect-overview?var-workspace=production"
    assert set(silence_filters(buttons(message)["Silence"])) == {
        'alertname="PrefectGettingSlower"',
        'severity="info"',
        'workspace="production"',
    }


def settled(inbox: Inbox, ready: Any) -> list[dict[str, Any]]:
    """The last message, once no more arrive."""
    wait_until(ready, 60, "all alerts")
    seen = -1
    while seen != len(inbox.messages()):
        seen = len(inbox.messages())
        time.sleep(SECONDS_OF_SILENCE)
    return inbox.messages()[-1:]


def test_twenty_critical_flows_send_a_message_each(alertmanager: Alertmanager, inbox: Inbox) -> None:
    flows = [{**ORDERS, "flow": f"flow-{number:02}"} for number in range(20)]
    alertmanager.post(*flows, annotations=ANNOTATIONS)
    inbox.wait_for(40)
    time.sleep(SECONDS_OF_SILENCE)
    for kind in ("slack", "pagerduty"):
        assert len(inbox.messages(kind)) == 20
    assert len({message["body"]["dedup_key"] for message in inbox.messages("pagerduty")}) == 20


@pytest.mark.parametrize("character", ["&", "🦆", "x "])
def test_longest_message_fits_the_limits_of_receivers(alertmanager: Alertmanager, inbox: Inbox, character: str) -> None:
    endless = character * 4000
    names = {
        "flow": character * 200,
        "deployment": character * 200,
        "workspace": character * 200,
        "team": character * 200,
    }
    annotations = {name: endless for name in ANNOTATIONS if not name.endswith("_url")}
    alerts = [{**ORDERS, **names, "alertname": f"PrefectAlert{number}"} for number in range(12)]
    alertmanager.post(*alerts, annotations=annotations | {"runbook_url": endless})
    slack, pager = one_each(inbox, "firing")
    assert 1500 < len(attachment(slack)["text"]) <= 3000
    assert len(attachment(slack)["title"]) <= 300
    assert len(attachment(slack)["footer"]) <= 300
    assert not re.search(r"&(?!(?:amp|lt|gt);)", attachment(slack)["text"]), "no entity is truncated"
    assert len(page(pager)["summary"]) <= 1024
    alertmanager.post(*alerts, annotations=annotations, ended=True)
    one_each(inbox, "resolved", before=2)


def test_group_with_an_alert_still_firing_is_not_resolved(alertmanager: Alertmanager, inbox: Inbox) -> None:
    too_long = {**ORDERS, "alertname": "PrefectRunTooLong"}
    alertmanager.post(ORDERS, too_long, annotations=ANNOTATIONS)
    one_each(inbox, "firing")
    alertmanager.post(too_long, annotations=ANNOTATIONS, ended=True)
    time.sleep(SECONDS_OF_SILENCE)
    latest = inbox.messages("slack")[-1]
    assert latest["status"] == "firing", "the incident goes on"
    assert all(message["status"] == "firing" for message in inbox.messages())
