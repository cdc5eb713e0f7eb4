"""A real Alertmanager with the shipped configuration, and the stand-in for Slack and PagerDuty that it sends to."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import yaml

from prefect_monitoring.config.shipped import shipped
from prefect_monitoring.demo.alerting import local_config, write_local_secrets
from support.http_client import CLIENT
from support.ports import free_port
from support.processes import Process, start, wait_until
from support.prometheus import binary

SHIPPED = shipped("alertmanager/alertmanager.yml")
START_SECONDS = 30.0

Change = Callable[[dict[str, Any]], None]


def alert(
    labels: Mapping[str, str],
    annotations: Mapping[str, str] | None = None,
    *,
    started: timedelta = timedelta(0),
    ended: bool = False,
) -> dict[str, Any]:
    """An alert in the form of Alertmanager's API."""
    now = datetime.now(UTC)
    return {
        "labels": {name: value for name, value in labels.items() if value},
        "annotations": dict(annotations or {}),
        "startsAt": (now - started).isoformat(),
        "endsAt": (now if ended else now + timedelta(minutes=5)).isoformat(),
    }


@dataclass
class Inbox:
    url: str
    process: Process

    def messages(self, kind: str = "", *words: str, status: str = "") -> list[dict[str, Any]]:
        """Received messages, oldest first; of one kind (slack, pagerduty, heartbeat), or all except heartbeats.

        With `words`, those that contain all of them; with `status`, those that are firing or resolved.
        """
        received = CLIENT.get(f"{self.url}/messages").json()
        return [
            message
            for message in received
            if (message["kind"] == kind if kind else message["kind"] != "heartbeat")
            and (not status or message["status"] == status)
            and all(word in json.dumps(message["body"]) for word in words)
        ]

    def wait_for(self, count: int, kind: str = "", timeout: float = 20) -> list[dict[str, Any]]:
        """Wait for at least `count` messages."""
        awaited = f"{count} messages {kind}"
        return wait_until(lambda: len(got := self.messages(kind)) >= count and got, timeout, awaited, every=0.1) or []


@dataclass
class Alertmanager:
    url: str
    process: Process
    inbox: Inbox

    def post(
        self,
        *alerts: Mapping[str, str],
        annotations: Mapping[str, str] | None = None,
        started: timedelta = timedelta(0),
        ended: bool = False,
    ) -> None:
        """Send alerts as Prometheus would; `ended` resolves them.

        An alert that started longer ago than its group_wait is sent immediately, in a message without the others.
        """
        self.send(*(alert(labels, annotations, started=started, ended=ended) for labels in alerts))

    def send(self, *alerts: Mapping[str, Any]) -> None:
        """Send alerts made by `alert`, all at once."""
        answer = CLIENT.post(f"{self.url}/api/v2/alerts", json=alerts)
        assert answer.status_code == 200, answer.text

    def silence(self, matchers: Sequence[Mapping[str, Any]]) -> None:
        """Silence what matches for an hour; `matchers` as in Alertmanager's API."""
        now = datetime.now(UTC)
        body = {
            "matchers": list(matchers),
            "startsAt": now.isoformat(),
            "endsAt": (now + timedelta(hours=1)).isoformat(),
            "createdBy": "a test",
            "comment": "planned",
        }
        answer = CLIENT.post(f"{self.url}/api/v2/silences", json=body)
        assert answer.status_code == httpx.codes.OK, answer.text

    def alerts(self, *filters: str) -> list[dict[str, Any]]:
        """All alerts that match, with their state: active, or suppressed and by which alert or silence."""
        params = [("filter", matcher) for matcher in filters]
        answer = CLIENT.get(f"{self.url}/api/v2/alerts", params=params)
        assert answer.status_code == 200, answer.text
        alerts: list[dict[str, Any]] = answer.json()
        return alerts


@contextmanager
def start_inbox(directory: Path) -> Iterator[Inbox]:
    port = free_port()
    command = [sys.executable, "-m", "prefect_monitoring.demo.inbox", "--listen", f"127.0.0.1:{port}"]
    inbox = Inbox(f"http://127.0.0.1:{port}", start(command, directory / "inbox.log"))
    try:
        _wait(inbox.process, f"{inbox.url}/messages")
        yield inbox
    finally:
        inbox.process.stop()


@contextmanager
def start_alertmanager(directory: Path, inbox: Inbox, change: Change | None = None) -> Iterator[Alertmanager]:
    """Run with the shipped configuration, modified by `change`."""
    config = directory / "alertmanager.yml"
    config.write_text(local_configuration(inbox.url, directory / "secrets", change))
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [
        binary(
            "prometheus-alertmanager" if shutil.which("prometheus-alertmanager") else "alertmanager"
        ),  # Debian's name
        f"--config.file={config}",
        f"--storage.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        f"--web.external-url={url}",
        "--cluster.listen-address=",
        "--log.level=info",
    ]
    alertmanager = Alertmanager(url, start(command, directory / "alertmanager.log"), inbox)
    try:
        _wait(alertmanager.process, f"{url}/-/ready")
        yield alertmanager
    finally:
        alertmanager.process.stop()


def local_configuration(inbox_url: str, secrets: Path, change: Change | None = None) -> str:
    text = SHIPPED.read_text()
    write_local_secrets(text, inbox_url, secrets)
    text = local_config(text, inbox_url, secrets)
    if change is None:
        return text
    config = yaml.safe_load(text)
    change(config)
    return str(yaml.safe_dump(config))


def impatient(config: dict[str, Any], *, muted: bool = False) -> None:
    """Shortens all timings, and removes the muted hours unless `muted`."""
    for route in _routes(config["route"]):
        for timing in ("group_wait", "group_interval"):
            if timing in route:
                route[timing] = "500ms"
        if route["receiver"] == "dead-mans-switch":
            route["repeat_interval"] = "400ms"
        if not muted:
            route.pop("mute_time_intervals", None)


def _routes(route: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield route
    for child in route.get("routes", []):
        yield from _routes(child)


def _wait(process: Process, url: str) -> None:
    def answers() -> bool:
        if not process.running:
            raise RuntimeError(f"it did not start:\n{process.output()[-4000:]}")
        return CLIENT.get(url, timeout=2).is_success

    wait_until(answers, START_SECONDS, url, ignore=(httpx.HTTPError,))


def amtool(*arguments: str) -> tuple[int, str]:
    done = subprocess.run([binary("amtool"), *arguments], capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout
