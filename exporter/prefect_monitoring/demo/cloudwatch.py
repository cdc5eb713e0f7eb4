"""CloudWatch for the demo, if moto is installed: the exporter pushes to a stand-in on this machine."""

from __future__ import annotations

import os
from dataclasses import replace
from importlib.util import find_spec
from typing import Final

from prefect_monitoring.demo.processes import Child, Launcher, start

OPTIONS: Final = ("--cloudwatch-pipelines", ".+/.+", "--installation", "demo")
_REGION: Final = "eu-west-1"
_NEEDED: Final = ("boto3", "moto", "flask")  # flask: moto's server
_HINT: Final = "AWS_ACCESS_KEY_ID=demo AWS_SECRET_ACCESS_KEY=demo aws cloudwatch list-metrics --namespace DataPipelines"


def is_installed() -> bool:
    return all(find_spec(name) for name in _NEEDED)


def start_stand_in(launcher: Launcher, host: str, port: int) -> Child:
    return start(launcher, "moto", ["-m", "moto.server", "-H", host, "-p", str(port)], grace_seconds=1)


def for_stand_in(launcher: Launcher, url: str) -> Launcher:
    """`launcher` for a child that pushes to the stand-in, without the user's AWS settings."""
    kept = {name: value for name, value in launcher.environment.items() if not name.upper().startswith("AWS_")}
    return replace(launcher, environment=kept | _settings(url))


def _settings(url: str) -> dict[str, str]:
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_REGION": _REGION,
        "AWS_ACCESS_KEY_ID": "demo",
        "AWS_SECRET_ACCESS_KEY": "demo",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }


def hint(url: str) -> str:
    """What the demo prints about it."""
    if not url:
        return "CloudWatch  off: boto3 and moto are not installed (pip install boto3 'moto[cloudwatch,server]')"
    return (
        f"CloudWatch  {url}/moto-api/\n\nTo list what the exporter pushes, once a minute:\n\n"
        f"  {_HINT} --region {_REGION} --endpoint-url {url}\n"
    )
