"""The demo pushes to its CloudWatch stand-in, never to an account of the user."""

from __future__ import annotations

from pathlib import Path

import pytest

from prefect_monitoring.demo import cloudwatch
from prefect_monitoring.demo.processes import Launcher

URL = "http://127.0.0.1:5005"


def test_aws_settings_of_the_user_do_not_reach_the_exporter() -> None:
    users = {"AWS_PROFILE": "prod", "AWS_SESSION_TOKEN": "secret", "aws_ca_bundle": "x", "PATH": "/bin"}
    environment = cloudwatch.for_stand_in(Launcher(users, Path(), Path()), URL).environment
    assert environment["PATH"] == "/bin"
    assert environment["AWS_ENDPOINT_URL"] == URL
    assert environment["AWS_ACCESS_KEY_ID"] == "demo"
    assert not {"AWS_PROFILE", "AWS_SESSION_TOKEN", "aws_ca_bundle"} & environment.keys()


def test_cloudwatch_stand_in_or_its_install_command_is_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cloudwatch.is_installed()
    assert f"--endpoint-url {URL}" in cloudwatch.hint(URL)
    monkeypatch.setattr(cloudwatch, "find_spec", lambda name: None if name == "moto" else object())
    assert not cloudwatch.is_installed()
    assert "not installed" in cloudwatch.hint("")
