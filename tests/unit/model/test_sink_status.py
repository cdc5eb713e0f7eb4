"""The status of a sink: failures by reason, and the lag."""

from __future__ import annotations

from prefect_monitoring.model.sink_status import SinkError, SinkStatus

NOW = 1_800_000_000.0


def test_failures_are_counted_by_reason_from_zero() -> None:
    status = SinkStatus("report").failed(SinkError.THROTTLED).failed(SinkError.EXPIRED, 3).failed(SinkError.THROTTLED)
    assert {reason: count for reason, count in status.errors.items() if count} == {"throttled": 2, "expired": 3}
    assert status.errors.keys() == set(SinkError)
    assert not any(SinkStatus("report").errors.values()), "the previous status is unchanged"


def test_lag_is_the_age_of_the_oldest_waiting_value() -> None:
    status = SinkStatus("report")
    assert status.lag(NOW) == 0
    assert status.succeeded(NOW - 5, NOW - 30).lag(NOW) == 30
    assert status.succeeded(NOW - 5, NOW + 30).lag(NOW) == 0, "the clock went back"
    assert status.succeeded(NOW - 5, None).lag(NOW) == 0
