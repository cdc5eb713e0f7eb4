"""The archive query that the demo prints runs as printed."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from prefect_monitoring.demo import archive
from unit.archive.fake_runs import NOON, FakeRuns
from unit.archive.site import Site


async def test_printed_query_shows_the_archived_runs(tmp_path: Path) -> None:
    site = Site(tmp_path / "archive", FakeRuns())
    site.fake.add(1, NOON, "FAILED")
    await site.archive(NOON, NOON)
    line = archive.hint(tmp_path, "127.0.0.1:9878").strip().splitlines()[-1]
    program, *arguments = shlex.split(line)
    assert program == "python"
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)  # noqa: ASYNC221
    assert done.returncode == 0, done.stderr
    assert "etl" in done.stdout
    assert "FAILED" in done.stdout


def test_demo_without_pyarrow_prints_how_to_install_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert archive.is_installed()
    monkeypatch.setattr(archive, "find_spec", lambda name: None)
    assert not archive.is_installed()
    assert "pip install 'prefect-monitoring[archive]'" in archive.hint(tmp_path, "")
