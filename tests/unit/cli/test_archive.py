"""`prefect-monitoring archive`: arguments that are refused before anything is read."""

from __future__ import annotations

from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from prefect_monitoring.archive.running import parse_instant
from prefect_monitoring.cli import archive, main
from prefect_monitoring.cli.parser import FAULT

NOON = 1_772_452_800.0


def test_archive_without_pyarrow_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(archive, "find_spec", lambda name: None)
    assert main(["archive", "--to", "file:///tmp/archive"]) == FAULT
    assert "pip install 'prefect-monitoring[archive]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "give the destination: --to s3://bucket/prefix"),
        (["--to", "ftp://x"], "--archive-to: is neither s3://bucket/prefix nor file:///folder"),
        (["--to", "file:///tmp/archive", "--until", "3d"], "--until needs --since"),
        (["--to", "file:///tmp/archive", "--since", "yesterday"], "'yesterday' is neither a duration"),
    ],
)
def test_archive_refuses_with_one_line(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["archive", *arguments]) == FAULT
    (line,) = capsys.readouterr().err.splitlines()
    assert complaint in line


def test_archive_without_an_api_address_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        assert main(["archive", "--to", tmp_path.as_uri(), "--once"]) == FAULT
    assert "PREFECT_API_URL" in capsys.readouterr().err


def test_instants_are_durations_or_dates() -> None:
    assert parse_instant("12h", NOON) == NOON - 43_200
    assert parse_instant("2026-03-02T13:00:00+01:00", 0) == NOON
    assert parse_instant("2026-03-02", 0) == NOON - 43_200
