"""Daily increments of counters add up to the counters."""

from __future__ import annotations

import pytest

from prefect_monitoring.ledger.daily_counts import growth_within
from prefect_monitoring.ledger.ledger import Ledger
from prefect_monitoring.model.changes import Changes, SeriesKey
from prefect_monitoring.model.counted_metrics import BY_DAY, CUSTOM_OBSERVED, OUTCOMES, TASK_RETRIES, TASK_SECONDS
from prefect_monitoring.model.period import Growth, Period
from unit.ledger_values import KEEP, NOW, PIPELINE, baseline_cursor
from unit.rig import DAY

TODAY = int(NOW // DAY * DAY)
YESTERDAY = TODAY - int(DAY)
RETRIES = SeriesKey(TASK_RETRIES, PIPELINE, task="load")
ROWS = SeriesKey(CUSTOM_OBSERVED, PIPELINE, "rows", "load", (("table", "orders"),))


@pytest.fixture
def counted(ledger: Ledger) -> Ledger:
    for at in (YESTERDAY + 1.0, TODAY - 0.5, float(TODAY), NOW):
        changes = Changes()
        changes.count(RETRIES, at, 3)
        changes.count(SeriesKey(TASK_SECONDS, PIPELINE, task="load"), at, 1.5)
        changes.count(SeriesKey(OUTCOMES, PIPELINE, "failed"), at)
        changes.observe(ROWS, at, 100.0)
        ledger.commit(changes, baseline_cursor(ledger), NOW)
    return ledger


def test_daily_counts_hold_the_increments_of_their_day(counted: Ledger) -> None:
    with counted.transaction() as connection:
        assert growth_within(connection, Period(YESTERDAY, TODAY))[RETRIES] == Growth(6, 2)
        assert growth_within(connection, Period(TODAY, TODAY + 1))[ROWS] == Growth(200, 2)


def test_daily_counts_add_up_to_the_counters(counted: Ledger) -> None:
    with counted.transaction() as connection:
        growth = growth_within(connection, Period(0, TODAY + 1))
    assert {key.metric for key in growth} <= BY_DAY
    assert {key: increment.amount for key, increment in growth.items()} == {
        key: series.value for key, series in counted.series.items() if key.metric in BY_DAY
    }


def test_days_that_nothing_compares_any_more_are_pruned(counted: Ledger) -> None:
    counted.prune(TODAY + 62 * DAY, keep=KEEP, live={PIPELINE})
    with counted.transaction() as connection:
        assert growth_within(connection, Period(0, TODAY)) == {}
        assert growth_within(connection, Period(TODAY, TODAY + 1))[RETRIES] == Growth(6, 2)
