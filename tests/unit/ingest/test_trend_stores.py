"""Points of trend stores: each is counted once, whatever happens to its documents."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from prefect_monitoring.config.settings import SettingsError
from prefect_monitoring.counting import trend_points
from prefect_monitoring.ingest.sources import Readers
from prefect_monitoring.ingest.trend_stores import GONE_POINTS_KEPT
from prefect_monitoring.ledger.ledger import Ledger
from prefect_monitoring.model.changes import SeriesKey
from prefect_monitoring.model.counted_metrics import VALUES_REJECTED
from prefect_monitoring.model.records import NO_FLOW
from prefect_monitoring.prefect_api.errors import ApiError
from prefect_monitoring.snapshot.builder import shown
from support.options import settings_with
from unit.conftest import MakeReaders, OpenLedger
from unit.fake_prefect import FakePrefect

BLOCK = "pipeline-metrics/orders"
ROWS = {
    "name": "orders_rows_total",
    "type": "counter",
    "help": "Rows.",
    "source": {"block": BLOCK, "field": "row_count"},
}
SECONDS = {
    "name": "orders_duration_seconds",
    "type": "histogram",
    "help": "Durations.",
    "buckets": [10, 100],
    "source": {"variable": "orders", "field": "duration_seconds"},
}
LAST = {"name": "orders_rows", "type": "gauge", "help": "Rows.", "source": {"variable": "orders", "field": "row_count"}}


class Site:
    """An exporter with declared metrics that can restart with other declarations."""

    def __init__(self, fake: FakePrefect, open_it: OpenLedger, make_readers: MakeReaders) -> None:
        self.fake, self._open, self._make = fake, open_it, make_readers
        self.readers: Readers | None = None

    def start(self, *declared: Mapping[str, object]) -> None:
        if self.readers is not None:
            self.readers.flow_runs.close()
        ledger = self._open(declared=settings_with(custom_metrics=list(declared)).metrics.custom_metrics)
        self.readers = self._make(ledger, custom_metrics=list(declared))

    @property
    def ledger(self) -> Ledger:
        assert self.readers is not None
        return self.readers.flow_runs.ledger

    async def read(self, seconds: float = 60.0) -> int:
        assert self.readers is not None
        self.fake.now += seconds
        return (await self.readers.trend_stores.read()).records

    def total(self, metric: str = "orders_rows_total") -> float:
        return sum(counter.value for key, counter in self.ledger.series.items() if key.metric == metric)

    def rejected(self) -> dict[str, float]:
        series = self.ledger.series.items()
        return {key.detail: counter.value for key, counter in series if key.metric == VALUES_REJECTED and counter.value}

    def point(self, number: int, rows: Any = 1, **more: Any) -> dict[str, Any]:
        at = datetime.fromtimestamp(self.fake.now - 1000 + number, UTC).isoformat()
        return {"id": f"{number:032x}", "timestamp": at, "row_count": rows, "duration_seconds": None, **more}


@pytest.fixture
def site(fake: FakePrefect, open_it: OpenLedger, make_readers: MakeReaders, ledger: Ledger) -> Site:
    ledger.close()
    return Site(fake, open_it, make_readers)


def documents(*points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The documents of a block: the block itself and its part documents."""
    return [{"keep_days": 400, "points": []}, *({"points": document} for document in points)]


async def test_first_reading_is_the_baseline_and_later_points_are_an_increase(
    site: Site,
) -> None:
    first = site.point(1, 10)
    site.fake.trends.documents[BLOCK] = documents([first])
    site.start(ROWS)
    assert "orders_rows_total" not in shown(site.ledger.series, set(site.ledger.cursors), site.ledger.metrics)
    await site.read()
    (series,) = (counter for key, counter in site.ledger.series.items() if key.metric == "orders_rows_total")
    assert (series.value, series.released) == (10, True)

    site.start(ROWS, {**ROWS, "name": "orders_rows_again_total"})
    site.fake.trends.documents[BLOCK] = documents([first], [site.point(2, 5)])
    await site.read()
    assert site.total() == 15
    assert site.total("orders_rows_again_total") == 15, "declared later: all existing points, at once"
    released = {
        key.metric: counter.released
        for key, counter in site.ledger.series.items()
        if key.pipeline == NO_FLOW and counter.value
    }
    assert released == {"orders_rows_total": True, "orders_rows_again_total": True}


async def test_folded_copied_and_deleted_points_are_counted_once(site: Site) -> None:
    first, second, third, fourth = (site.point(number) for number in range(1, 5))
    site.start(ROWS)
    for stored in (
        documents([first], [second]),
        documents([first], [second], [first, second]),
        documents([first, second], [first, second], [third]),
        documents([first, second, third]),
        documents(),
        documents([first, second, third, fourth]),
        documents([third, fourth]),
    ):
        site.fake.trends.documents[BLOCK] = stored
        await site.read()
    assert site.total() == 4


async def test_points_count_once_through_restarts(site: Site) -> None:
    points = []
    for number in range(5):
        points.append(site.point(number))
        site.fake.trends.documents[BLOCK] = documents(points)
        site.start(ROWS)
        await site.read()
        await site.read()
    assert site.total() == 5


async def test_points_without_an_id_are_distinguished_by_content(site: Site) -> None:
    same = {"timestamp": "2026-01-05T12:00:00Z", "duration_seconds": 5}
    in_other_words = {"timestamp": "2026-01-05T13:00:00+01:00", "duration_seconds": 5.0, "comment": "added later"}
    site.start(SECONDS)
    for points in (
        [same],
        [same],
        [in_other_words],
        [same, {**same, "duration_seconds": 6}],
        [{**same, "duration_seconds": 6}, same, same],
        [same],
    ):
        site.fake.trends.values["orders"] = points
        await site.read()
    (histogram,) = (series for key, series in site.ledger.series.items() if key.metric == "orders_duration_seconds")
    assert histogram.buckets == (3, 0, 0), "two equal points in one reading are two points"
    assert histogram.value == 16


@pytest.mark.parametrize(
    "stored",
    [
        [{"timestamp": 1767614400, "row_count": 7}],
        {"points": [{"timestamp": 1767614400, "row_count": 7}]},
        '[{"timestamp": "2026-01-05T12:00:00", "row_count": 7}]',
    ],
    ids=["list", "mapping", "text"],
)
async def test_variable_is_a_list_an_object_or_json_text(site: Site, stored: object) -> None:
    site.fake.trends.values["orders"] = stored
    site.start(LAST)
    await site.read()
    assert site.ledger.values[SeriesKey("orders_rows", NO_FLOW)].value == 7


async def test_gauge_is_the_latest_point(site: Site) -> None:
    site.start(LAST)
    site.fake.trends.values["orders"] = [site.point(9, 90), site.point(3, 30)]
    await site.read()
    assert site.ledger.values[SeriesKey("orders_rows", NO_FLOW)].value == 90


async def test_labels_are_fields_of_the_point_and_other_names_may_be_declared(site: Site) -> None:
    declared = {
        **ROWS,
        "labels": ["table", "flow"],
        "source": {"block": "own/shop", "field": "n", "points": "log", "timestamp": "at"},
    }
    site.fake.trends.documents["own/shop"] = [
        {"token": "********", "log": [{"at": 1, "n": 2, "table": "a", "flow": "etl"}, {"at": 2, "n": 3}]}
    ]
    site.start(declared)
    await site.read()
    assert {
        key.labels: counter.value for key, counter in site.ledger.series.items() if key.metric == "orders_rows_total"
    } == {
        (("flow", "etl"), ("table", "a")): 2,
        (): 3,
    }


async def test_invalid_point_is_rejected_once_and_counted_once_corrected(site: Site) -> None:
    good, wrong = site.point(1), site.point(2, "many")
    bad = [
        wrong,
        site.point(3, float("nan")),
        site.point(4, -1),
        {"row_count": 1},
        {"timestamp": "soon", "row_count": 1},
        7,
        site.point(5, True),
        {"timestamp": site.fake.now * 1000, "row_count": 1},
    ]
    site.start({**ROWS, "labels": ["table"]})
    await site.read()
    site.fake.trends.documents[BLOCK] = documents([good, *bad, site.point(6, 1, table="x" * 201)])
    await site.read()
    await site.read()
    assert site.total() == 1
    assert site.rejected() == {"malformed": 6, "non_finite": 1, "negative": 1, "label": 1}
    site.fake.trends.documents[BLOCK] = documents([good, {**wrong, "row_count": 5}])
    await site.read()
    assert site.total() == 6


async def test_missing_field_is_skipped(site: Site) -> None:
    site.start(ROWS)
    site.fake.trends.documents[BLOCK] = documents([site.point(1, None), {"timestamp": 5.0}])
    await site.read()
    assert site.rejected() == {}


async def test_label_sets_beyond_the_cap_are_rejected(site: Site) -> None:
    site.start({**ROWS, "labels": ["table"], "max_series": 1})
    site.fake.trends.documents[BLOCK] = documents([site.point(1, table="a"), site.point(2, table="b")])
    await site.read()
    assert site.rejected() == {"too_many": 1}


async def test_points_deleted_long_ago_are_forgotten(site: Site) -> None:
    site.start(ROWS)
    site.fake.trends.documents[BLOCK] = documents([site.point(1)], [site.point(2)])
    await site.read()
    site.fake.trends.documents[BLOCK] = documents([site.point(2)])
    await site.read()
    assert len(site.ledger.known_points("orders_rows_total")) == 2, "a store may be read while it is rewritten"
    site.fake.trends.documents[BLOCK] = documents([site.point(2)], [site.point(3)])
    await site.read(GONE_POINTS_KEPT + 60)
    assert len(site.ledger.known_points("orders_rows_total")) == 2


async def test_only_the_newest_of_many_points_are_counted(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    assert trend_points.MAX_POINTS >= 20_000
    monkeypatch.setattr(trend_points, "MAX_POINTS", 2)
    site.start(ROWS)
    site.fake.trends.documents[BLOCK] = documents([site.point(number, 10**number) for number in range(4)])
    await site.read()
    assert site.total() == 1100


async def test_first_reading_after_an_outage_is_the_baseline(site: Site) -> None:
    site.start(ROWS)
    site.fake.trends.documents[BLOCK] = documents([site.point(1)])
    site.fake.trends.broken = ApiError("the server failed", "500")
    with pytest.raises(ApiError):
        await site.read()
    site.fake.trends.broken = None
    await site.read()
    assert site.total() == 1
    assert not site.ledger.in_birth_hold


async def test_declaration_added_again_starts_with_a_new_baseline(site: Site) -> None:
    site.fake.trends.documents[BLOCK] = documents([site.point(1)])
    site.start(ROWS)
    await site.read()
    site.start()
    assert site.total() == 0
    assert site.ledger.known_points("orders_rows_total") == set()
    site.start(ROWS)
    await site.read()
    assert site.total() == 1
    assert not site.ledger.in_birth_hold


async def test_missing_or_invalid_store_is_logged_once_without_its_content(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.fake.trends.values["orders"] = {"password": "s3cret", "points": "s3cret"}
    site.start(ROWS, SECONDS)
    with caplog.at_level(logging.DEBUG):
        await site.read()
        await site.read()
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == [
        "custom_metrics: the block pipeline-metrics/orders does not exist (yet); nothing is counted",
        "custom_metrics: the Variable orders holds no list under 'points'; nothing is counted",
    ]
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize("declared", [[], [{**ROWS, "enabled": False}]], ids=["none", "off"])
async def test_undeclared_stores_are_not_requested(site: Site, declared: list[dict[str, object]]) -> None:
    site.start(*declared)
    await site.read()
    assert set().union(*site.fake.trends.asked) == set()


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ({"variable": "a", "field": "x", "block": "b/c"}, "one source: variable is given as well"),
        ({"variable": "a"}, "say which with `field`"),
        ({"field": "x"}, "only points of a variable or a block have fields"),
        ({"block": "orders", "field": "x"}, "block"),
    ],
)
def test_invalid_source_is_refused(source: dict[str, str], complaint: str) -> None:
    with pytest.raises((SettingsError, ValueError), match=complaint):
        settings_with(custom_metrics=[{**ROWS, "source": source}])
