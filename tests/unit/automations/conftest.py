"""Fixtures of the tests of actions: successive acting processes over one ledger."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from prefect_monitoring.ledger.ledger import Ledger
from unit.acting_process import ActingProcess, Begin
from unit.fake_prefect import FakePrefect


@pytest.fixture
def begin(fake: FakePrefect, open_it: Callable[..., Ledger], tmp_path: Path) -> Begin:
    """Creates a process with the given rules over the ledger of this test and ends the previous one."""
    running: list[ActingProcess] = []

    def process(rules: str, **options: object) -> ActingProcess:
        for old in running:
            old.readers.flow_runs.close()
        (tmp_path / "pipelines.yml").write_text(rules)
        running[:] = [ActingProcess(fake, open_it(), tmp_path / "pipelines.yml", **options)]  # type: ignore[arg-type]
        return running[0]

    return process
