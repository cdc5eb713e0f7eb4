"""Cursors in the ledger's JSON: earlier releases wrote them under the same field names."""

from __future__ import annotations

from prefect_monitoring.ledger.stored_cursors import as_json, from_json
from prefect_monitoring.model.cursor import FLOW_RUNS, Cursor

CURSOR = Cursor(
    watermark=200.0,
    horizon=100.0,
    baseline_complete=True,
    window_newest=300.0,
    page_before=250.0,
    page_offset=3,
    earliest_left=270.0,
)
STORED = {
    "watermark": 200.0,
    "horizon": 100.0,
    "level_complete": True,
    "walk_newest": 300.0,
    "walk_before": 250.0,
    "walk_offset": 3,
    "walk_left": 270.0,
}


def test_cursor_is_stored_under_the_names_of_earlier_releases() -> None:
    assert as_json({FLOW_RUNS: CURSOR}) == {FLOW_RUNS: STORED}
    assert from_json({FLOW_RUNS: STORED}) == {FLOW_RUNS: CURSOR}


def test_cursor_without_all_fields_is_read_with_their_defaults() -> None:
    assert from_json({FLOW_RUNS: {"watermark": 200.0, "horizon": 100.0}}) == {FLOW_RUNS: Cursor(200.0, 100.0)}
