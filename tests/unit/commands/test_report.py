"""`prefect-monitoring report` on a ledger or a copy of it, without Prefect."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from prefect_monitoring.cli import main
from prefect_monitoring.ledger.ledger import Ledger
from support.slack import SECRET, Slack, slack_stand_in
from unit.ledger_values import NOW, PIPELINE
from unit.report_ledgers import Past


@pytest.fixture
def options(ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr("time.time", lambda: NOW)
    past = Past(ledger, NOW)
    past.exists(PIPELINE)
    past.ran(PIPELINE, 0.1)
    past.ran(PIPELINE, 0.2, state_type="FAILED")
    return ["report", "--ledger-url", f"sqlite:///{tmp_path}/ledger.db"]


@pytest.fixture
def slack(tmp_path: Path) -> Iterator[Slack]:
    with slack_stand_in(tmp_path) as running:
        yield running


def test_report_is_printed_while_the_exporter_uses_the_ledger(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(options) == 0
    out = capsys.readouterr().out
    assert out.startswith("# Prefect: the 7 days to Mon 02 Mar 2026\n")
    assert "50 % of 2 runs completed" in out


@pytest.mark.parametrize(("form", "begin"), [("markdown", "# Prefect"), ("html", "<!doctype html>"), ("slack", "{")])
def test_report_is_printed_in_each_format(
    options: list[str], capsys: pytest.CaptureFixture[str], form: str, begin: str
) -> None:
    assert main([*options, "--format", form, "--days", "30"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(begin)
    assert "30 days" in out


def test_report_is_sent_to_slack_in_its_format(
    options: list[str], slack: Slack, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*options, "--send", "--report-slack-webhook-url-file", str(slack.webhook)]) == 0
    assert capsys.readouterr().out == "Slack accepted the report.\n"
    [message] = slack.messages
    assert {"text", "blocks"} == message.keys()


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        (["--days", "0"], "a report covers 1 to 31 days"),
        (["--days", "32"], "a report covers 1 to 31 days"),
        (["--team", "sales"], "No pipeline has the team 'sales'"),
        (["--send"], "--send needs report_slack_webhook_url"),
        (["--ledger-url", "sqlite:////nowhere/x.db"], "There is no ledger"),
        (["--pipelines", "/nowhere/pipelines.yml"], "cannot be read"),
    ],
)
def test_invalid_request_is_refused_with_a_reason(
    options: list[str], capsys: pytest.CaptureFixture[str], more: list[str], reason: str
) -> None:
    assert main([*options, *more]) == 2
    assert reason in capsys.readouterr().err


def test_unreachable_slack_is_an_error_without_its_address(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "webhook"
    file.write_text(f"http://127.0.0.1:1/services/{SECRET}")
    assert main([*options, "--send", "--report-slack-webhook-url-file", str(file)]) == 2
    said = capsys.readouterr().err
    assert "Slack could not be reached" in said
    assert SECRET not in said


def test_report_needs_no_prefect(options: list[str]) -> None:
    """Neither its settings nor its slow import are needed."""
    code = (
        "import sys\nfrom prefect_monitoring.cli import main\n"
        f"code = main({options!r})\nsys.exit(code or 'prefect' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env={})
    assert (done.returncode, done.stderr) == (0, "")
