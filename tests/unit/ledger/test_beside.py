"""Reading a ledger, or a copy, delays and changes nothing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import sqlalchemy as sa

from prefect_monitoring.ledger.beside import reading
from prefect_monitoring.ledger.errors import LedgerError
from prefect_monitoring.ledger.ledger import Ledger
from prefect_monitoring.ledger.name_rows import load_pipelines
from unit.ledger_values import NOW, PIPELINE, baseline_cursor, outcome


def test_exporter_commits_while_its_ledger_is_read(ledger: Ledger, tmp_path: Path) -> None:
    ledger.commit(outcome(1), baseline_cursor(ledger), NOW)
    with reading(f"sqlite:///{tmp_path}/ledger.db") as connection:
        assert set(load_pipelines(connection)) == {PIPELINE}
        other = PIPELINE._replace(flow="other")
        ledger.commit(outcome(2, pipeline=other), baseline_cursor(ledger), NOW)
        assert set(load_pipelines(connection)) == {PIPELINE}, "the view of before"
    assert set(ledger.pipelines) == {PIPELINE, other}


@pytest.mark.usefixtures("ledger")
def test_read_only_view_cannot_write(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path}/ledger.db"
    with pytest.raises(LedgerError, match="read-only"), reading(address) as connection:
        connection.execute(sa.text("DELETE FROM prefect_monitoring_series"))


def test_copy_on_a_disk_that_cannot_be_written_is_read(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.commit(outcome(1), baseline_cursor(ledger), NOW)
    ledger.close()
    folder = tmp_path / "a copy"
    folder.mkdir()
    shutil.copy(tmp_path / "ledger.db", folder)
    folder.chmod(0o555)
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    with reading(f"sqlite:///{folder}/ledger.db") as connection:
        assert set(load_pipelines(connection)) == {PIPELINE}
    assert [file.name for file in folder.iterdir()] == ["ledger.db"]


def test_file_that_is_no_ledger_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="There is no ledger"), reading(f"sqlite:///{tmp_path}/ledger.db"):
        pass
