"""The pipelines file while the exporter runs: changes apply at the next poll, a broken file changes nothing."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from prefect_monitoring.config.settings import LabelSettings, PolicySettings, SettingsError
from prefect_monitoring.ledger.ledger import Ledger
from prefect_monitoring.ledger.opening import open_ledger
from prefect_monitoring.model.records import Deployment, Pipeline
from prefect_monitoring.policy.reloader import PolicyReloader
from unit.ledger_values import lookbacks_of

NOW = 1_000_000.0
PIPELINE = Pipeline("etl", "prod")
LIVE = {PIPELINE: Deployment("d", "prod", "f", "pool", "", ("team:tagged", "secret-tag"))}
GOOD = "pipelines: [{flow: etl, team: filed}]"
BROKEN = "pipelines: [{flow: etl, teem: filed}]"


class Place:
    """A pipelines file and a ledger."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "pipelines.yml"
        self.url = f"sqlite:///{directory / 'ledger.db'}"
        self.ledger = self._open()

    def _open(self) -> Ledger:
        return open_ledger(self.url, "http://api", bounds={}, lookbacks=lookbacks_of(1e6), now=NOW)

    def restart(self) -> None:
        self.ledger.close()
        self.ledger = self._open()

    def reloader(self) -> PolicyReloader:
        return PolicyReloader(PolicySettings(pipelines=str(self.file)), LabelSettings(), self.ledger, NOW)


@pytest.fixture
def beside(tmp_path: Path) -> Place:
    return Place(tmp_path)


def _team(reloader: PolicyReloader, now: float = NOW) -> str:
    reloader.renew(LIVE, [PIPELINE, Pipeline("etl", "")], now)
    return reloader.current[PIPELINE].team


def test_without_a_file_tags_count_and_nothing_is_said_of_a_file(beside: Place) -> None:
    reloader = PolicyReloader(PolicySettings(), LabelSettings(), beside.ledger, NOW)

    assert _team(reloader) == "tagged"
    assert reloader.current[PIPELINE].tags == ()
    assert reloader.current.keys() == {PIPELINE}
    assert reloader.status is None


def test_change_applies_at_the_next_poll(beside: Place) -> None:
    beside.file.write_text(GOOD)
    reloader = beside.reloader()
    assert _team(reloader) == "filed"

    beside.file.write_text(GOOD.replace("filed", "moved"))
    assert _team(reloader, NOW + 15) == "moved"
    assert reloader.status is not None
    assert (reloader.status.valid, reloader.status.last_success) == (True, NOW + 15)


@pytest.mark.parametrize("fault", ["broken", "gone"])
def test_broken_file_keeps_the_last_good_one_and_is_logged_once(
    beside: Place, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    beside.file.write_text(GOOD)
    reloader = beside.reloader()
    if fault == "broken":
        beside.file.write_text(BROKEN)
    else:
        beside.file.unlink()

    with caplog.at_level(logging.WARNING, logger="prefect_monitoring"):
        teams = [_team(reloader, NOW + 15 * poll) for poll in (1, 2, 3)]
    assert teams == ["filed"] * 3
    assert reloader.status is not None
    assert (reloader.status.valid, reloader.status.last_success) == (False, NOW)
    told = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(told) == 1
    assert str(beside.file) in caplog.text


def test_fixed_file_is_valid_again_even_if_unchanged(beside: Place) -> None:
    beside.file.write_text(GOOD)
    reloader = beside.reloader()
    beside.file.write_text(BROKEN)
    _team(reloader)
    beside.file.write_text(GOOD)

    assert _team(reloader, NOW + 30) == "filed"
    assert reloader.status is not None
    assert reloader.status.valid


def test_restart_with_a_broken_file_uses_the_last_good_one(beside: Place) -> None:
    beside.file.write_text(GOOD)
    _team(beside.reloader())
    beside.file.write_text(BROKEN)
    beside.restart()
    reloader = beside.reloader()

    assert _team(reloader) == "filed"
    assert reloader.status is not None
    assert (reloader.status.valid, reloader.status.last_success) == (False, None)


@pytest.mark.parametrize("content", [BROKEN, None])
def test_first_start_with_a_broken_file_is_refused(beside: Place, content: str | None) -> None:
    if content:
        beside.file.write_text(content)

    with pytest.raises(SettingsError, match=r"teem|cannot be read"):
        beside.reloader()


def test_last_good_file_unreadable_to_this_version_is_ignored(beside: Place) -> None:
    beside.ledger.store_pipelines_file("of: another version")
    beside.file.write_text(BROKEN)

    with pytest.raises(SettingsError, match="teem"):
        beside.reloader()


def test_empty_file_is_valid_and_remembered(beside: Place) -> None:
    beside.file.write_text("")
    assert _team(beside.reloader()) == "tagged"
    beside.file.write_text(BROKEN)
    beside.restart()

    assert _team(beside.reloader()) == "tagged"
