"""The shipped Alertmanager configuration, pointed at the stand-in for the services that it sends to.

Routes, groups, timings, inhibition and templates stay the same: only addresses and the paths of files change.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from prefect_monitoring.config.shipped import shipped

SHIPPED_SECRETS: Final = "/etc/alertmanager/secrets/"
_TEAMS: Final = "teams"  # configured as a Slack receiver, but without channels
_HEARTBEAT: Final = "dead-mans-switch"
_KEY_LENGTH: Final = 32  # of PagerDuty's integration keys


def local_config(text: str, inbox_url: str, secrets: Path) -> str:
    """`text`, the shipped `alertmanager.yml`, with the stand-in's addresses, and its secret files in `secrets`."""
    config = yaml.safe_load(text)
    base = shipped("alertmanager").resolve()
    inbox = inbox_url.rstrip("/")
    config["global"]["pagerduty_url"] = f"{inbox}/pagerduty/v2/enqueue"
    config["templates"] = [str(base / pattern) for pattern in config["templates"]]
    for receiver, _, options in _integrations(config):
        for option in ("api_url_file", "routing_key_file"):
            if option in options:
                options[option] = str(secrets.resolve() / _secret_name(options[option]))
        if "url" in options:
            options["url"] = f"{inbox}/{'heartbeat' if receiver == _HEARTBEAT else receiver}"
    return str(yaml.safe_dump(config, sort_keys=False, allow_unicode=True))


def write_local_secrets(text: str, inbox_url: str, secrets: Path) -> None:
    """The secret files that `local_config` names: a webhook for each Slack channel, a made-up key for each service."""
    secrets.mkdir(parents=True, exist_ok=True)
    for receiver, kind, options in _integrations(yaml.safe_load(text)):
        if kind == "slack_configs":
            place = _TEAMS if receiver == _TEAMS else f"slack/{options['channel'].lstrip('#')}"
            url = f"{inbox_url.rstrip('/')}/{place}"
            (secrets / _secret_name(options["api_url_file"])).write_text(f"{url}\n")
        elif kind == "pagerduty_configs":
            name = _secret_name(options["routing_key_file"])
            (secrets / name).write_text(f"{name[:_KEY_LENGTH].ljust(_KEY_LENGTH, '-')}\n")


def _integrations(config: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """The receiver, kind and options of each integration."""
    for receiver in config["receivers"]:
        for kind, integrations in receiver.items():
            if kind != "name":
                yield from ((receiver["name"], kind, options) for options in integrations)


def _secret_name(path: str) -> str:
    """The secret's file name; one that `local_config` has put elsewhere keeps it."""
    return path.removeprefix(SHIPPED_SECRETS).rpartition("/")[2]
