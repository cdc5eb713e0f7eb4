"""Common behaviour of the commands that plan and apply."""

import pytest

from prefect_monitoring.cli import main
from prefect_monitoring.cli.parser import FAULT


@pytest.mark.parametrize("command", ["automations", "cloudwatch"])
@pytest.mark.parametrize(("switches", "code"), [([], FAULT), (["--detailed-exitcode"], 1)])
def test_invalid_prefect_settings_are_a_one_line_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str, switches: list[str], code: int
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "ftp://proxy")
    assert main([command, "plan", *switches]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert "HTTPS_PROXY" in line
