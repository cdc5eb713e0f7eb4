"""`prefect-monitoring actions` with a ledger that a running exporter has open."""

from __future__ import annotations

from pathlib import Path

import pytest

from prefect_monitoring.cli import main
from prefect_monitoring.ledger.ledger import Ledger
from prefect_monitoring.model.actions import Acting, Action, ActionResult, Kind
from prefect_monitoring.model.records import Pipeline
from unit.ledger_values import NOW

ACTION = Action(
    id="1",
    kind=Kind.RETRY,
    pipeline=Pipeline("etl", "daily"),
    decided_at=NOW,
    expires_at=NOW,
    result=ActionResult.DONE,
    finished_at=NOW,
    run_name="able-lynx",
    attempt=2,
    allowed=3,
)


@pytest.fixture
def options(ledger: Ledger, tmp_path: Path) -> list[str]:
    ledger.change_acting(lambda _: Acting(enabled_at=NOW))
    ledger.store_actions([ACTION], NOW)
    return ["actions", "--ledger-url", f"sqlite:///{tmp_path}/ledger.db"]


def _acting(ledger: Ledger) -> Acting:
    return ledger.change_acting(lambda acting: acting)


def test_actions_are_listed_while_the_exporter_uses_the_ledger(
    options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*options, "--since", "36500d"]) == 0

    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("allowed, for failures since ")
    assert second.endswith("UTC  retry 2 of 3 of etl/daily (able-lynx): done")


def test_actions_before_the_period_are_not_listed(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*options, "--since", "1s"]) == 0

    assert capsys.readouterr().out.splitlines()[1:] == ["no actions"]


def test_stop_and_resume_reach_the_running_exporter(
    options: list[str], ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*options, "--stop"]) == 0
    assert not _acting(ledger).allowed
    assert "by hand" in capsys.readouterr().out

    assert main([*options, "--resume"]) == 0
    assert _acting(ledger).allowed
    assert _acting(ledger).enabled_at == NOW


@pytest.mark.usefixtures("ledger")
@pytest.mark.parametrize(
    ("more", "reason"),
    [(["--since", "soon"], "is not a duration"), (["--ledger-url", "sqlite:////nowhere/x.db"], "There is no ledger")],
)
def test_invalid_request_is_refused_with_a_reason(
    options: list[str], capsys: pytest.CaptureFixture[str], more: list[str], reason: str
) -> None:
    assert main([*options, *more]) == 2
    assert reason in capsys.readouterr().err
    assert not Path("/nowhere").exists()
