"""alertmanager.yml: receivers, muting and inhibition."""

from __future__ import annotations

import re
import textwrap
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

from prefect_monitoring.demo.alerting import local_config, write_local_secrets
from support.alertmanager import SHIPPED, Alertmanager, amtool, impatient, start_alertmanager, start_inbox
from support.processes import wait_until

CONFIG: dict[str, Any] = yaml.safe_load(SHIPPED.read_text())
MINUTES_A_DAY = 24 * 60
ALL_DAY = {"start_time": "00:00", "end_time": "24:00"}


def test_shipped_config_is_valid() -> None:
    code, output = amtool("check-config", str(SHIPPED))
    assert code == 0, output
    assert "FAILED" not in output
    assert len(list((SHIPPED.parent / "templates").glob("*.tmpl"))) == 4
    assert CONFIG["templates"] == ["templates/*.tmpl"], "Alertmanager resolves it against the config file"


def test_secrets_are_only_in_files() -> None:
    text = SHIPPED.read_text()
    files = re.findall(r"_file: (\S+)", text)
    assert len(files) == 5
    assert all(name.startswith("/etc/alertmanager/secrets/") for name in files), "absolute paths only"
    documented = set(re.findall(r"^#   (/etc/alertmanager/secrets/\S+)", text, re.MULTILINE))
    assert documented == set(files)
    assert not re.search(r"\b(api_url|routing_key|service_key):", text)


def receivers_of(*labels: str) -> list[str]:
    code, output = amtool("config", "routes", "test", f"--config.file={SHIPPED}", *labels)
    assert code == 0, output
    return output.strip().split(",")


SEVERITIES = ("critical", "warning", "info", "none", "page", "")
CRITICALITIES = ("critical", "standard", "low", "")
TEAMS = ("", "example-team", "somebody else")


def expected(severity: str, team: str) -> list[str]:
    if severity == "none":
        return ["dead-mans-switch"]
    if severity == "info":
        return ["slack-digest"]
    own = "slack-example-team" if team == "example-team" and severity in {"critical", "warning"} else ""
    slack = own or "slack-data-alerts"
    return ["pagerduty", slack] if severity == "critical" else [slack]


@pytest.mark.parametrize(("severity", "criticality", "team"), list(product(SEVERITIES, CRITICALITIES, TEAMS)))
def test_alert_goes_to_the_receivers_of_its_severity_and_team(severity: str, criticality: str, team: str) -> None:
    labels = {"alertname": "PrefectRunFailed", "severity": severity, "criticality": criticality, "team": team}
    assert receivers_of(*(f'{name}="{value}"' for name, value in labels.items() if value)) == expected(severity, team)


def test_failure_in_a_storm_notifies_nobody() -> None:
    assert receivers_of("alertname=PrefectFailureInStorm", "severity=critical") == ["nobody"]
    assert [receiver for receiver in CONFIG["receivers"] if receiver["name"] == "nobody"] == [{"name": "nobody"}]


@pytest.mark.parametrize("team", TEAMS)
def test_only_escalated_alerts_page_the_escalation_service(team: str) -> None:
    slack = "slack-example-team" if team == "example-team" else "slack-data-alerts"
    assert receivers_of("escalated=yes", "severity=critical", f'team="{team}"') == ["escalation", slack]
    assert not {"pagerduty", "escalation"} & set(
        receivers_of("alertname=PrefectStillFailing", "severity=warning", f'team="{team}"')
    )
    receiver = next(receiver for receiver in CONFIG["receivers"] if receiver["name"] == "escalation")
    assert set(receiver) == {"name", "pagerduty_configs"}


def test_spent_budget_goes_to_the_digest() -> None:
    """It fires for days: in the pipeline's group it would delay and rename the message about a new failure."""
    for criticality in CRITICALITIES:
        labels = ("alertname=PrefectBudgetSpent", "severity=warning", f'criticality="{criticality}"')
        assert receivers_of(*labels) == ["slack-digest"]


def routes(route: dict[str, Any] = CONFIG["route"], **inherited: Any) -> Iterator[dict[str, Any]]:
    """Each route with its inherited settings; muting is not inherited."""
    own = {**inherited, **route}
    yield own
    timings = {name: own[name] for name in ("group_by", "group_wait", "group_interval", "repeat_interval")}
    for child in route.get("routes", []):
        yield from routes(child, **timings)


def test_pages_wait_seconds_and_the_digest_minutes() -> None:
    waits: dict[str, set[tuple[str, str]]] = {}
    for route in routes():
        waits.setdefault(route["receiver"], set()).add((route["group_wait"], route["group_interval"]))
    assert waits["pagerduty"] == waits["escalation"] == {("5s", "1m")}
    assert waits["slack-data-alerts"] == waits["slack-example-team"] == {("30s", "1m")}
    assert waits["slack-digest"] == {("15m", "6h")}


@pytest.mark.parametrize("team", TEAMS)
def test_alerts_of_a_pipeline_share_a_slack_group_across_severities(team: str) -> None:
    """Groups belong to a route: with two routes, one would send "resolved" for a pipeline that still fails."""
    kept = [route for route in CONFIG["route"]["routes"] if "low" not in str(route["matchers"])]
    slack = [route for route in kept if route["receiver"].startswith("slack-") and route["receiver"] != "slack-digest"]
    assert [route["matchers"] for route in slack] == [['severity=~"critical|warning"']]
    assert receivers_of('severity="critical"', f'team="{team}"')[-1:] == receivers_of(
        'severity="warning"', f'team="{team}"'
    )


def test_receivers_group_by_pipeline_or_by_alert() -> None:
    groups = {(route["receiver"], tuple(route["group_by"])) for route in routes()}
    incident = ("workspace", "flow", "deployment")
    for receiver in ("pagerduty", "escalation", "slack-example-team"):
        assert {group for name, group in groups if name == receiver} == {incident}
    platform = ("workspace", "alertname")
    assert {group for name, group in groups if name == "slack-data-alerts"} == {incident, platform}
    assert ("slack-digest", ("workspace", "team")) in groups


def test_routes_below_another_parent_keep_groups_and_timings(tmp_path: Path) -> None:
    """Under the parent route of the guide, below a root with other groups and timings."""
    guide = (SHIPPED.parents[1] / "docs/alerting.md").read_text()
    (snippet,) = [block for block in re.findall(r"```yaml\n(.*?)```", guide, re.DOTALL) if "Prefect.+" in block]
    (parent,) = yaml.safe_load(textwrap.dedent(snippet))["route"]["routes"]
    parent["routes"] = CONFIG["route"]["routes"]
    timings = {"group_wait": "1m", "group_interval": "1h", "repeat_interval": "7d"}
    root = {"receiver": "host", "group_by": ["alertname"], **timings, "routes": [parent]}
    host = {**CONFIG, "route": root, "receivers": [*CONFIG["receivers"], {"name": "host"}]}
    (tmp_path / "host.yml").write_text(yaml.safe_dump({**host, "templates": []}))
    code, output = amtool("check-config", str(tmp_path / "host.yml"))
    assert code == 0, output

    def settings_of(route: dict[str, Any]) -> list[tuple[Any, ...]]:
        kept = ("receiver", "group_by", "group_wait", "group_interval", "repeat_interval")
        return [tuple(str(route[name]) for name in kept) for route in routes(route)]

    assert settings_of(root)[1:] == settings_of(CONFIG["route"])


def test_low_criticality_is_muted_in_every_channel() -> None:
    def muted(route: dict[str, Any]) -> Iterator[tuple[str, bool]]:
        yield route["receiver"], route.get("mute_time_intervals") == ["outside-working-hours"]
        for child in route.get("routes", []):
            yield from muted(child)

    low = next(route for route in CONFIG["route"]["routes"] if 'criticality="low"' in route.get("matchers", []))
    assert dict(muted(low)) == {"slack-data-alerts": True, "slack-example-team": True}
    others = [route for route in CONFIG["route"]["routes"] if route is not low and route["receiver"] != "slack-digest"]
    assert not any(is_muted for route in others for _, is_muted in muted(route))


def test_low_criticality_alert_repeats_the_next_morning() -> None:
    """Its resolved message was muted, so Alertmanager counts it as notified until repeat_interval has passed."""
    muted = [route for route in routes() if "outside-working-hours" in route.get("mute_time_intervals", [])]
    low = [route for route in muted if route["receiver"] != "slack-digest"]
    assert {route["receiver"] for route in low} == {"slack-data-alerts", "slack-example-team"}
    night = 14  # hours, 18:00 to 08:00
    assert all(int(route["repeat_interval"].removesuffix("h")) < night for route in low)


def minute(text: str) -> int:
    hours, _, minutes = text.partition(":")
    return int(hours) * 60 + int(minutes)


@pytest.mark.parametrize("weekday", ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"])
def test_working_hours_are_weekdays_from_8_to_18(weekday: str) -> None:
    (interval,) = CONFIG["time_intervals"]
    open_minutes = [
        at
        for at in range(MINUTES_A_DAY)
        if not any(
            weekday in closed.get("weekdays", [weekday])
            and any(minute(t["start_time"]) <= at < minute(t["end_time"]) for t in closed.get("times", [ALL_DAY]))
            for closed in interval["time_intervals"]
        )
    ]
    weekend = weekday in {"saturday", "sunday"}
    assert open_minutes == ([] if weekend else list(range(8 * 60, 18 * 60)))


def test_local_copy_differs_only_in_addresses_and_paths(tmp_path: Path) -> None:
    original = SHIPPED.read_text()
    text = local_config(original, "http://127.0.0.1:9099/", tmp_path / "secrets")
    write_local_secrets(original, "http://127.0.0.1:9099/", tmp_path / "secrets")
    (tmp_path / "alertmanager.yml").write_text(text)
    code, output = amtool("check-config", str(tmp_path / "alertmanager.yml"))
    assert code == 0, output
    changed = dict(differences(CONFIG, yaml.safe_load(text)))
    assert changed.pop("global.pagerduty_url") == "http://127.0.0.1:9099/pagerduty/v2/enqueue"
    assert changed.pop("templates.0") == str(SHIPPED.parent / "templates" / "*.tmpl")
    secrets = [name for name in changed if name.endswith("_file")]
    contents = {Path(changed.pop(name)).read_text() for name in secrets}
    assert contents == {
        "http://127.0.0.1:9099/slack/data-alerts\n",
        "http://127.0.0.1:9099/slack/example-team\n",
        "pagerduty-key-------------------\n",
        "pagerduty-escalation-key--------\n",
        "http://127.0.0.1:9099/teams\n",
    }
    assert list(changed.values()) == ["http://127.0.0.1:9099/webhook", "http://127.0.0.1:9099/heartbeat"]


def differences(first: Any, second: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(first, dict) and isinstance(second, dict) and first.keys() == second.keys():
        for key in first:
            yield from differences(first[key], second[key], f"{path}.{key}".lstrip("."))
    elif isinstance(first, list) and isinstance(second, list) and len(first) == len(second):
        for number, pair in enumerate(zip(first, second, strict=True)):
            yield from differences(*pair, f"{path}.{number}")
    elif first != second:
        yield path, second


# --- with a running Alertmanager -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def alertmanager(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alertmanager]:
    directory = tmp_path_factory.mktemp("inhibition")
    with start_inbox(directory) as inbox, start_alertmanager(directory, inbox, impatient) as running:
        yield running


def alert(name: str, severity: str = "critical", **labels: str) -> dict[str, str]:
    return {"alertname": name, "severity": severity, **labels}


ORDERS = {"flow": "orders", "deployment": "nightly"}
POOL = {"work_pool": "kube"}
FAILED = alert("PrefectRunFailed", **ORDERS)
OVERDUE = alert("PrefectNotSucceeded", **ORDERS)
STILL = alert("PrefectStillFailing", escalated="yes", **ORDERS)
SPENT = alert("PrefectRetriesExhausted", **ORDERS)
REPEATED = alert("PrefectRepeatedFailure", **ORDERS)
IN_STORM = alert("PrefectFailureInStorm", **ORDERS)
NO_WORKERS = alert("PrefectPoolWithoutWorkers", "warning", **POOL)
LATE = alert("PrefectStartLate", "warning", **ORDERS, **POOL)
ZOMBIE = alert("PrefectZombieRun", "warning", criticality="standard", **ORDERS)
API_DOWN, EXPORTER_DOWN = alert("PrefectApiDown"), alert("PrefectExporterDown")
WATCHDOG = alert("PrefectWatchdog", "none")

INHIBITED = [
    (API_DOWN, FAILED),
    (API_DOWN, alert("PrefectStillFailing", escalated="yes", **ORDERS)),
    (API_DOWN, alert("PrefectNumbersOld", "warning", source="logs")),
    (API_DOWN, NO_WORKERS),
    (EXPORTER_DOWN, OVERDUE),
    (EXPORTER_DOWN, alert("PrefectPipelinesFileBroken", "warning")),
    (OVERDUE, FAILED),
    (IN_STORM, FAILED),
    (IN_STORM, OVERDUE),
    (OVERDUE, alert("PrefectRunCrashed", **ORDERS)),
    (REPEATED, FAILED),
    (STILL, FAILED),
    (STILL, REPEATED),
    (SPENT, FAILED),
    (SPENT, alert("PrefectRunCrashed", **ORDERS)),
    (OVERDUE, SPENT),
    (REPEATED, SPENT),
    (STILL, SPENT),
    (alert("PrefectStillFailing", "warning", **ORDERS), alert("PrefectRepeatedFailure", "warning", **ORDERS)),
    (alert("PrefectZombieRun", "warning", **ORDERS), alert("PrefectRunTooLong", "warning", **ORDERS)),
    (NO_WORKERS, LATE),
    (NO_WORKERS, alert("PrefectQueueNotPolled", "warning", work_queue="default", **POOL)),
    (NO_WORKERS, alert("PrefectLimitFull", "warning", **POOL)),
    # The same alert before and after the criticality changes to or from low.
    (alert("PrefectZombieRun", "info", criticality="low", **ORDERS), ZOMBIE),
    (ZOMBIE, alert("PrefectZombieRun", "info", criticality="low", **ORDERS)),
]
NOT_INHIBITED = [
    (API_DOWN, EXPORTER_DOWN),
    (EXPORTER_DOWN, API_DOWN),
    (API_DOWN, WATCHDOG),
    (EXPORTER_DOWN, WATCHDOG),
    (API_DOWN, alert("DiskFull")),
    (OVERDUE, alert("PrefectRunFailed", flow="orders", deployment="hourly")),
    (OVERDUE, alert("PrefectRunFailed", flow="orders")),
    (OVERDUE, REPEATED),
    (FAILED, OVERDUE),
    (IN_STORM, STILL),
    (IN_STORM, alert("PrefectFailureStorm", cause="connection")),
    (SPENT, alert("PrefectRunFailed", flow="orders", deployment="hourly")),
    (FAILED, SPENT),
    # Low criticality: overdue is info, repeated failure a warning.
    (alert("PrefectNotSucceeded", "info", **ORDERS), alert("PrefectRunFailed", "warning", **ORDERS)),
    (alert("PrefectZombieRun", "warning", **ORDERS), alert("PrefectRunTooLong", "critical", **ORDERS)),
    (NO_WORKERS, alert("PrefectStartLate", "warning", **ORDERS, work_pool="other")),
    (NO_WORKERS, alert("PrefectStartLate", "warning", **ORDERS)),
    (NO_WORKERS, alert("PrefectLimitFull", "warning", limit="database")),
    (NO_WORKERS, FAILED),
    # PagerDuty needs the resolved event when a criticality drops to low; a pool has one alert for each criticality.
    (alert("PrefectRunFailed", "warning", criticality="low", **ORDERS), {**FAILED, "criticality": "critical"}),
    ({**NO_WORKERS, "criticality": "low"}, {**NO_WORKERS, "criticality": "standard"}),
]


def inhibitors(alertmanager: Alertmanager, source: dict[str, str], target: dict[str, str]) -> list[str]:
    alertmanager.post(source, target, annotations={"summary": "…"})
    wanted = {name: target.get(name, "") for name in ("alertname", "workspace", "criticality")}

    def alerts() -> list[dict[str, Any]]:
        return alertmanager.alerts(*(f'{name}="{value}"' for name, value in wanted.items()))

    (received,) = wait_until(alerts, 60, target["alertname"])
    return list(received["status"]["inhibitedBy"])


def numbered(pairs: list[tuple[dict[str, str], dict[str, str]]]) -> list[Any]:
    names = [f"{source['alertname']}-{target['alertname']}" for source, target in pairs]
    return [pytest.param(number, *pair, id=f"{number}-{names[number]}") for number, pair in enumerate(pairs)]


@pytest.mark.parametrize(("number", "source", "target"), numbered(INHIBITED))
def test_source_inhibits_target(
    alertmanager: Alertmanager, number: int, source: dict[str, str], target: dict[str, str]
) -> None:
    here, elsewhere = {"workspace": f"hidden-{number}"}, {"workspace": f"elsewhere-{number}"}
    # Alertmanager shows the target a moment before it inhibits it.
    wait_until(lambda: len(inhibitors(alertmanager, source | here, target | here)) == 1, 60, "a source that inhibits")
    assert inhibitors(alertmanager, source | here, target | elsewhere) == [], "no inhibition across workspaces"


@pytest.mark.parametrize(("number", "source", "target"), numbered(NOT_INHIBITED))
def test_source_does_not_inhibit_target(
    alertmanager: Alertmanager, number: int, source: dict[str, str], target: dict[str, str]
) -> None:
    here = {"workspace": f"not-inhibited-{number}"}
    assert inhibitors(alertmanager, source | here, target | here) == []


def test_api_down_inhibits_other_alerts_without_workspace_labels(tmp_path: Path) -> None:
    with start_inbox(tmp_path) as inbox, start_alertmanager(tmp_path, inbox, impatient) as alertmanager:
        labelled = {**API_DOWN, "workspace": "production"}
        assert inhibitors(alertmanager, labelled, FAILED) == [], "workspaces must be equal"
        assert len(inhibitors(alertmanager, API_DOWN, FAILED)) == 1
        assert inhibitors(alertmanager, API_DOWN, WATCHDOG) == []


@pytest.mark.parametrize(
    ("times", "flows"), [([ALL_DAY], {"standard"}), ([], {"standard", "low", "low of a team", "slower"})]
)
def test_outside_working_hours_low_criticality_waits(tmp_path: Path, times: list[Any], flows: set[str]) -> None:
    def at_this_hour(config: dict[str, Any]) -> None:
        impatient(config, muted=True)
        config["time_intervals"][0]["time_intervals"] = [{"times": times}] if times else [{"years": ["1970"]}]

    low = {"criticality": "low", "severity": "warning", "alertname": "PrefectRepeatedFailure"}
    with start_inbox(tmp_path) as inbox, start_alertmanager(tmp_path, inbox, at_this_hour) as alertmanager:
        alertmanager.post(
            {**low, "flow": "low"},
            {**low, "flow": "low of a team", "team": "example-team"},
            {"alertname": "PrefectGettingSlower", "severity": "info", "criticality": "standard", "flow": "slower"},
        )
        time.sleep(1.5)  # three times their group_wait
        alertmanager.post({**low, "criticality": "standard", "flow": "standard"})
        messages = inbox.wait_for(len(flows))
        assert {flow_of(message) for message in messages} == flows


def flow_of(message: dict[str, Any]) -> str:
    found = re.search(r"\*Flow\*  `([^`]+)`", message["body"]["attachments"][0]["text"])
    assert found, message
    return found[1]
