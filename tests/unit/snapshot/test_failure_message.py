"""A failure's message from the state to the label, as far as the option `failure_message` allows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from prefect_monitoring.metrics.flow_runs import METRICS
from prefect_monitoring.snapshot.builder import with_message
from unit.snapshots import PIPELINE, make_snapshot

INFO = next(metric for metric in METRICS if metric.name == "prefect_flow_run_last_failure_info")


@pytest.mark.parametrize(
    ("wanted", "message"),
    [("line", 'PermissionError: "orders" is closed'), ("type", "PermissionError"), ("off", "")],
)
def test_label_message_follows_the_option(wanted: str, message: str) -> None:
    snapshot = make_snapshot()
    stats = with_message(snapshot.run_stats[PIPELINE], wanted)
    ((labels, _),) = INFO.rows(replace(snapshot, run_stats={PIPELINE: stats}))
    assert dict(zip(INFO.labels, labels, strict=True))["message"] == message
