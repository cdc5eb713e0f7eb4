"""Fixtures of the tests of sinks."""

from __future__ import annotations

from pathlib import Path

import pytest

from unit.sink_world import World


@pytest.fixture(scope="module")
def empty_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    world = World(tmp_path_factory.mktemp("ledger"))
    world.ledger().close()
    return world.folder / "ledger.db"
