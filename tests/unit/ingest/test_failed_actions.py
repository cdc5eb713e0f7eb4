"""Failed actions of automations: each event is counted once, through restarts, late arrivals and outages."""

from __future__ import annotations

import pytest

from prefect_monitoring.counting import automations
from prefect_monitoring.counting.automations import MAX_NAMES
from prefect_monitoring.ingest.sources import Readers
from prefect_monitoring.model.changes import SeriesKey
from prefect_monitoring.model.counted_metrics import FAILED_ACTIONS
from prefect_monitoring.model.cursor import AUTOMATION_EVENTS, OVERLAP_SECONDS
from prefect_monitoring.model.records import NO_FLOW, OTHER, FailedAction
from prefect_monitoring.model.units import HOUR
from prefect_monitoring.prefect_api.errors import ApiError
from unit.conftest import MakeReaders, OpenLedger
from unit.fake_prefect import FakePrefect
from unit.ledger_values import KEEP


def _fail(fake: FakePrefect, automation: str = "pause", *, ago: float = 0.0) -> None:
    fake.events.happened.append(FailedAction(fake.new_id(), automation, fake.now - ago))


def _counts(readers: Readers) -> dict[str, float]:
    series = readers.flow_runs.ledger.series
    return {key.detail: counter.value for key, counter in series.items() if key.metric == FAILED_ACTIONS}


async def _read(fake: FakePrefect, readers: Readers, seconds: float = 60.0) -> int:
    """Reads some time later; returns the number of records."""
    fake.now += seconds
    return (await readers.failed_actions.read()).records


async def test_action_failed_before_the_first_start_is_not_counted(fake: FakePrefect, readers: Readers) -> None:
    _fail(fake, ago=10)

    await _read(fake, readers)
    assert fake.events.asked == []
    await _read(fake, readers)
    assert _counts(readers) == {}
    _fail(fake)
    await _read(fake, readers)
    assert _counts(readers) == {"pause": 1}


async def test_existing_automations_start_at_zero(fake: FakePrefect, readers: Readers) -> None:
    fake.inventory.enabled = {True: 2, False: 1}
    await readers.inventory.read_automations()
    await _read(fake, readers)
    assert _counts(readers) == {"automation 0": 0, "automation 1": 0}, "names need not be unique"

    ledger = readers.flow_runs.ledger
    held = SeriesKey(FAILED_ACTIONS, NO_FLOW, "new")
    _fail(fake, "new")
    await _read(fake, readers)
    assert not ledger.series[held].released, "a new automation is shown at zero first"


async def test_event_read_several_times_is_counted_once(
    fake: FakePrefect, readers: Readers, make_readers: MakeReaders, open_it: OpenLedger
) -> None:
    await _read(fake, readers)
    _fail(fake)
    for _ in range(3):
        await _read(fake, readers, 1)
    assert len(fake.events.asked) == 3
    readers.flow_runs.close()
    restarted = make_readers(open_it())
    await _read(fake, restarted, 1)

    assert _counts(restarted) == {"pause": 1}


async def test_late_event_is_counted(fake: FakePrefect, readers: Readers) -> None:
    await _read(fake, readers)
    _fail(fake)
    await _read(fake, readers, OVERLAP_SECONDS)
    _fail(fake, "late", ago=OVERLAP_SECONDS)
    await _read(fake, readers)

    assert _counts(readers) == {"pause": 1, "late": 1}


@pytest.mark.parametrize("same_instant", [True, False])
async def test_many_events_are_all_read(fake: FakePrefect, readers: Readers, *, same_instant: bool) -> None:
    fake.events.limit = 3
    await _read(fake, readers)
    fake.now += 30
    for number in range(3 if same_instant else 10):
        _fail(fake, ago=0 if same_instant else number)
    _fail(fake, "last", ago=-0.5)
    for _ in range(6):
        await _read(fake, readers, 1)

    assert _counts(readers) == {"pause": 3 if same_instant else 10, "last": 1}


async def test_outage_with_pruned_lines_loses_and_doubles_nothing(fake: FakePrefect, readers: Readers) -> None:
    ledger = readers.flow_runs.ledger
    await _read(fake, readers)
    _fail(fake)
    await _read(fake, readers, 1)
    fake.events.broken = ApiError("no", "500")
    for _ in range(10):
        with pytest.raises(ApiError):
            await _read(fake, readers, HOUR)
        await readers.log_lines.read(1)
        await readers.flow_runs.in_ledger(ledger.prune, fake.now, keep=KEEP, live=())
    _fail(fake, ago=9 * HOUR)
    fake.events.broken = None
    await _read(fake, readers)
    await _read(fake, readers)

    assert _counts(readers) == {"pause": 2}


async def test_window_stays_short_without_events(fake: FakePrefect, readers: Readers) -> None:
    await _read(fake, readers)
    for _ in range(5):
        await _read(fake, readers, 10 * HOUR)

    assert fake.now - fake.events.asked[-1][0] <= 11 * HOUR + OVERLAP_SECONDS
    assert readers.flow_runs.ledger.cursors[AUTOMATION_EVENTS].watermark <= fake.now - HOUR


async def test_names_beyond_the_cap_are_counted_together(
    fake: FakePrefect, readers: Readers, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MAX_NAMES >= 100
    monkeypatch.setattr(automations, "MAX_NAMES", 2)
    await _read(fake, readers)
    for name in ("a", "b", "c", "d", "a"):
        _fail(fake, name)
    await _read(fake, readers)

    assert _counts(readers) == {"a": 2, "b": 1, OTHER: 2}
    assert readers.flow_runs.ledger.folded == {FAILED_ACTIONS: 2}
