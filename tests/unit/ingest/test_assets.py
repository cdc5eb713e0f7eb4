"""Materializations of declared assets: each event is counted once, within caps and request limits."""

from __future__ import annotations

import pytest

from prefect_monitoring.config.settings import HistorySettings
from prefect_monitoring.ingest.sources import Readers, lookbacks
from prefect_monitoring.ledger.ledger import Ledger
from prefect_monitoring.ledger.retention import Keep
from prefect_monitoring.metrics import metrics_of
from prefect_monitoring.model.changes import SeriesKey
from prefect_monitoring.model.counted_metrics import (
    CUSTOM_OBSERVED,
    CUSTOM_VALUE,
    LAST_MATERIALIZATION,
    VALUES_REJECTED,
)
from prefect_monitoring.model.cursor import ASSET_EVENTS
from prefect_monitoring.model.records import NO_FLOW, Materialization
from prefect_monitoring.model.units import DAY
from prefect_monitoring.web.exposition import render
from support.options import settings_with
from unit.conftest import MakeReaders, OpenLedger
from unit.fake_prefect import FakePrefect
from unit.poller_process import Process

ORDERS = "s3://lake/orders"
RULES = [{"asset": ORDERS, "max_staleness": "1d"}, {"asset": "s3://lake/.*"}]
ROWS = {"name": "lake_rows_total", "type": "counter", "help": "Rows.", "source": {"asset_metadata": "rows"}}


def materialize(
    fake: FakePrefect, asset: str = ORDERS, result: str = "succeeded", *, ago: float = 0, **numbers: float
) -> None:
    event = Materialization(fake.new_id(), asset, fake.now - ago, result, tuple(numbers.items()))
    fake.events.materialized.append(event)


async def read(fake: FakePrefect, readers: Readers, seconds: float = 60.0) -> bool:
    """Reads some time later; returns whether the reading was complete."""
    fake.now += seconds
    return (await readers.assets.read()).complete


def last(ledger: Ledger) -> dict[tuple[str, str], float]:
    values = ledger.values.items()
    return {
        (key.detail, dict(key.labels)["result"]): last.value
        for key, last in values
        if key.metric == LAST_MATERIALIZATION
    }


def rejected(ledger: Ledger) -> dict[str, float]:
    return {
        key.detail: counter.value
        for key, counter in ledger.series.items()
        if key.metric == VALUES_REJECTED and counter.value
    }


@pytest.fixture
def readers(make_readers: MakeReaders) -> Readers:
    return make_readers(assets=RULES)


async def test_last_materialization_is_known_by_result(fake: FakePrefect, readers: Readers) -> None:
    materialize(fake, ago=3600)
    materialize(fake, result="failed", ago=60)
    materialize(fake, "s3://elsewhere/orders")
    begun = fake.now
    await read(fake, readers)
    ledger = readers.flow_runs.ledger
    assert last(ledger) == {(ORDERS, "succeeded"): begun - 3600, (ORDERS, "failed"): begun - 60}
    materialize(fake)
    now = fake.now
    await read(fake, readers)
    materialize(fake, ago=600)  # late
    await read(fake, readers)
    assert last(ledger)[ORDERS, "succeeded"] == now


async def test_metadata_counts_once_through_restarts_and_overlaps(
    fake: FakePrefect, make_readers: MakeReaders, open_it: OpenLedger, ledger: Ledger
) -> None:
    ledger.close()
    options = settings_with(assets=RULES, custom_metrics=[ROWS])
    declared = options.metrics.custom_metrics

    def start() -> Readers:
        return make_readers(open_it(declared=declared), assets=RULES, custom_metrics=[ROWS])

    materialize(fake, ago=100, rows=10, bytes=7)
    for _ in range(3):
        readers = start()
        await read(fake, readers)
        await read(fake, readers)
        materialize(fake, rows=1)
        await read(fake, readers)
        readers.flow_runs.close()
    readers = start()
    await read(fake, readers)
    ledger = readers.flow_runs.ledger
    labels = (("asset", ORDERS),)
    assert ledger.series[SeriesKey("lake_rows_total", NO_FLOW, labels=labels)].value == 13
    assert ledger.series[SeriesKey(CUSTOM_OBSERVED, NO_FLOW, "rows", labels=labels)].value == 13
    assert ledger.values[SeriesKey(CUSTOM_VALUE, NO_FLOW, "bytes", labels=labels)].value == 7
    process = Process(fake, readers, options)
    await process.poller.publish()
    fake.now += 100
    await process.poller.publish()
    text = render(process.last, metrics_of(options.metrics)).text.plain.decode()
    assert f'lake_rows_total{{asset="{ORDERS}"}} 13.0' in text, "no labels of a run"


async def test_invalid_metadata_is_rejected_by_reason(fake: FakePrefect, make_readers: MakeReaders) -> None:
    readers = make_readers(assets=RULES, max_assets=1, custom_metrics=[ROWS])
    materialize(fake, ago=3, rows=-1, **{"row-count": 5})
    materialize(fake, "s3://lake/second", ago=2)
    materialize(fake, "s3://lake/" + "x" * 200, ago=1)
    await read(fake, readers)
    await read(fake, readers)
    assert rejected(readers.flow_runs.ledger) == {"negative": 1, "name": 1, "too_many": 1, "label": 1}
    assert last(readers.flow_runs.ledger).keys() == {(ORDERS, "succeeded")}


async def test_many_events_are_read_in_several_readings(fake: FakePrefect, readers: Readers) -> None:
    fake.events.limit = 2
    for number in range(7):
        materialize(fake, ago=100 - number, rows=1)
    readings = 1
    while not await read(fake, readers, 1):
        readings += 1
        assert not readers.flow_runs.ledger.cursors[ASSET_EVENTS].baseline_complete
    assert readings <= 7
    assert readers.flow_runs.ledger.cursors[ASSET_EVENTS].baseline_complete
    key = SeriesKey(CUSTOM_OBSERVED, NO_FLOW, "rows", labels=(("asset", ORDERS),))
    assert readers.flow_runs.ledger.series[key].value == 7
    assert readers.flow_runs.ledger.series[key].released, "records found by a first start are the baseline"


async def test_event_ids_are_forgotten_once_they_cannot_be_read_again(fake: FakePrefect, readers: Readers) -> None:
    ledger = readers.flow_runs.ledger
    keep = Keep(lookbacks=lookbacks(HistorySettings()), lines=1800, dead_series=7 * DAY)
    materialize(fake, rows=1)
    event = fake.events.materialized[0].id
    await read(fake, readers)
    ledger.prune(fake.now + 3600, keep=keep, live=())
    assert ledger.counted_lines([event]) == {event}
    await readers.log_lines.read(60)
    fake.now += 8 * DAY  # assets are no longer declared, but lines are still read
    await readers.log_lines.read(60)
    ledger.prune(fake.now, keep=keep, live=())
    assert ledger.counted_lines([event]) == set()


async def test_exposition_has_only_declared_assets(
    fake: FakePrefect, make_readers: MakeReaders, open_it: OpenLedger, ledger: Ledger
) -> None:
    ledger.close()
    readers = make_readers(open_it(), assets=RULES)
    materialize(fake, "s3://lake/old", ago=100)
    await read(fake, readers)
    settings = settings_with(assets=RULES)
    process = Process(fake, readers, settings)
    await process.poller.publish()
    text = render(process.last, metrics_of(settings.metrics)).text.plain.decode()
    assert 'prefect_asset_last_materialization_timestamp_seconds{asset="s3://lake/old",result="succeeded"}' in text
    assert f'prefect_asset_max_staleness_seconds{{asset="{ORDERS}"}} 86400.0' in text, "before it was ever materialized"
    assert 'max_staleness_seconds{asset="s3://lake/old"}' not in text
    readers.flow_runs.close()
    process = Process(fake, make_readers(open_it(), assets=RULES[:1]), settings)
    await process.poller.publish()
    text = render(process.last, metrics_of(settings.metrics)).text.plain.decode()
    assert "s3://lake/old" not in text


def test_asset_metadata_needs_assets() -> None:
    with pytest.raises(ValueError, match="declare with `assets` which are read"):
        settings_with(custom_metrics=[ROWS])
