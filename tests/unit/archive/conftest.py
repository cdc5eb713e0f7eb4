"""Fixtures: an archive on disk of a model server."""

from __future__ import annotations

from pathlib import Path

import pytest

from unit.archive.fake_runs import FakeRuns
from unit.archive.site import Site


@pytest.fixture
def fake_runs() -> FakeRuns:
    return FakeRuns()


@pytest.fixture
def archived(tmp_path: Path, fake_runs: FakeRuns) -> Site:
    return Site(tmp_path / "archive", fake_runs)
