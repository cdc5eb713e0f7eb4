"""Declared metrics from METRIC lines: exact through restarts and through added, changed and removed declarations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from prefect_monitoring.config.settings import Settings
from prefect_monitoring.ingest.sources import Readers
from prefect_monitoring.ledger.errors import LedgerError
from prefect_monitoring.ledger.ledger import Ledger
from prefect_monitoring.ledger.opening import inspect_ledger
from prefect_monitoring.metrics import metrics_of
from prefect_monitoring.model.changes import SeriesKey
from prefect_monitoring.model.counted_metrics import CUSTOM_OBSERVED, CUSTOM_VALUE, REJECTED
from prefect_monitoring.model.records import NO_FLOW, Pipeline
from prefect_monitoring.model.series import Series
from prefect_monitoring.web.exposition import render
from support.options import settings_with
from support.prometheus import promtool_check_metrics
from unit.conftest import MakeReaders, OpenLedger
from unit.fake_prefect import FakePrefect
from unit.poller_process import Process
from unit.rig import API, readers_of

PIPELINE = Pipeline("etl", "daily")
COUNTER = {"name": "orders_rows_total", "type": "counter", "help": "Rows.", "source": {"metric_line": "rows"}}
GAUGE = {"name": "orders_last_rows", "type": "gauge", "help": "Rows.", "source": {"metric_line": "last_rows"}}
HISTOGRAM = {
    "name": "orders_load_seconds",
    "type": "histogram",
    "help": "How long loads took.",
    "unit": "seconds",
    "buckets": [1, 10],
    "labels": ["flow", "table"],
    "source": {"metric_line": "load"},
}


@dataclass
class Site:
    """An exporter with declared metrics that can restart with other declarations."""

    fake: FakePrefect
    open_it: OpenLedger
    make_readers: MakeReaders
    settings: Settings = field(default_factory=settings_with)
    process: Process | None = None

    def start(self, *declared: Mapping[str, object], **options: object) -> Ledger:
        if self.process is not None:
            self.process.readers.flow_runs.close()
        self.settings = settings_with(custom_metrics=list(declared), birth_hold="70s", **options)
        ledger = self.open_it(declared=self.settings.metrics.custom_metrics)
        readers = self.make_readers(ledger, custom_metrics=list(declared), **options)
        self.process = Process(self.fake, readers, self.settings)
        return ledger

    @property
    def readers(self) -> Readers:
        assert self.process is not None
        return self.process.readers

    @property
    def ledger(self) -> Ledger:
        return self.readers.flow_runs.ledger

    async def read(self, seconds: float = 15.0) -> None:
        self.fake.now += seconds
        await self.readers.log_lines.read(60)

    def series(self, metric: str) -> dict[SeriesKey, Series]:
        return {key: series for key, series in self.ledger.series.items() if key.metric == metric}

    def total(self, metric: str) -> float:
        return sum(series.value for series in self.series(metric).values())

    def last(self, metric: str) -> list[float]:
        return [last.value for key, last in self.ledger.values.items() if key.metric == metric]

    def rejected(self) -> dict[str, float]:
        return {key.detail: counter.value for key, counter in self.series(REJECTED).items() if counter.value}

    async def exposed(self) -> tuple[str, str]:
        """The exposition as text and as OpenMetrics."""
        assert self.process is not None
        await self.process.poller.publish()
        exposition = render(self.process.last, metrics_of(self.settings.metrics))
        return exposition.text.plain.decode(), exposition.openmetrics.plain.decode()


@pytest.fixture
def site(fake: FakePrefect, open_it: OpenLedger, make_readers: MakeReaders, ledger: Ledger) -> Site:
    ledger.close()
    return Site(fake, open_it, make_readers)


async def test_each_declared_type_is_exposed(site: Site, flow_run: str) -> None:
    site.start(COUNTER, GAUGE, HISTOGRAM)
    for rows in (3, 5):
        site.fake.logs.emit("rows", rows, flow_run, table="orders")
        site.fake.logs.emit("last_rows", rows, flow_run)
        site.fake.logs.emit("load", rows, flow_run, table="orders", shard="1")
        site.fake.now += 1
    await site.read()

    assert site.series("orders_rows_total") == {
        SeriesKey("orders_rows_total", PIPELINE, labels=(("table", "orders"),)): Series(8.0, (), released=True)
    }
    assert {key: one.value for key, one in site.ledger.values.items() if key.metric == "orders_last_rows"} == {
        SeriesKey("orders_last_rows", PIPELINE): 5.0
    }
    assert site.series("orders_load_seconds") == {
        SeriesKey("orders_load_seconds", Pipeline("etl", ""), labels=(("table", "orders"),)): Series(
            8.0, (0, 2, 0), released=True
        )
    }


async def test_first_increment_after_the_baseline_is_seen_from_zero(site: Site, flow_run: str) -> None:
    site.start(COUNTER)
    await site.read()
    site.fake.logs.emit("rows", 5, flow_run)
    await site.read()
    (held,) = site.series("orders_rows_total").values()
    assert (held.value, held.released) == (5, False)
    text, _ = await site.exposed()
    assert 'orders_rows_total{deployment="daily",flow="etl",task=""} 0.0' in text
    site.fake.now += 71
    text, _ = await site.exposed()
    assert 'orders_rows_total{deployment="daily",flow="etl",task=""} 5.0' in text


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.sampled_from(["rows", "restart", "read", "late"]), max_size=14))
async def test_every_line_counts_once_through_restarts(
    steps: list[str], tmp_path_factory: pytest.TempPathFactory, open_it: OpenLedger
) -> None:
    fake = FakePrefect()
    flow = fake.add_flow("etl")
    run = fake.schedule(flow, fake.add_deployment("daily", flow))
    fake.start(run)
    url = f"sqlite:///{tmp_path_factory.mktemp('once')}/ledger.db"
    options = settings_with(custom_metrics=[COUNTER, HISTOGRAM])
    declared = options.metrics.custom_metrics

    def start() -> Readers:
        return readers_of(fake, open_it(url=url, declared=declared), options)

    readers, sent = start(), 0
    for step in (*steps, "read", "read"):
        fake.now += 15
        if step in {"rows", "late"}:
            sent += 1
            fake.logs.write("METRIC: rows=2 load=2", run, at=fake.now - 40 * (step == "late"))
        elif step == "read":
            await readers.log_lines.read(60)
        else:
            readers.flow_runs.close()
            readers = start()
    ledger = readers.flow_runs.ledger
    counted = sum(series.value for key, series in ledger.series.items() if key.metric == "orders_rows_total")
    buckets = [series.buckets for key, series in ledger.series.items() if key.metric == "orders_load_seconds"]
    readers.flow_runs.close()
    assert counted == 2 * sent
    assert buckets == ([(0, sent, 0)] if sent else [])


async def test_generic_metrics_remain_for_undeclared_and_declared_lines(site: Site, flow_run: str) -> None:
    site.start(COUNTER, {**GAUGE, "keep_generic": False})
    site.fake.logs.write("METRIC: rows=1 last_rows=2 other=3", flow_run)
    await site.read()
    assert {key.detail for key in site.series(CUSTOM_OBSERVED)} == {"rows", "other"}
    assert {key.detail for key in site.ledger.values if key.metric == CUSTOM_VALUE} == {"rows", "other"}
    assert site.last("orders_last_rows") == [2]


async def test_disabled_metric_is_not_counted_and_resumes_where_it_stopped(site: Site, flow_run: str) -> None:
    site.start(COUNTER)
    site.fake.logs.emit("rows", 1, flow_run)
    await site.read()
    site.start({**COUNTER, "enabled": False})
    site.fake.logs.emit("rows", 10, flow_run)
    await site.read()
    text, _ = await site.exposed()
    assert "orders_rows_total" not in text
    site.start(COUNTER)
    site.fake.logs.emit("rows", 100, flow_run)
    await site.read()
    assert site.total("orders_rows_total") == 101


async def test_negative_values_are_accepted_only_for_gauges(site: Site, flow_run: str) -> None:
    site.start(COUNTER, GAUGE, {**HISTOGRAM, "source": {"metric_line": "rows"}})
    site.fake.logs.write("METRIC: rows=-1 last_rows=-2", flow_run)
    await site.read()
    assert site.series("orders_rows_total") == {}
    assert site.last("orders_last_rows") == [-2]
    assert site.rejected() == {"negative": 1}, "one value, though two metrics refuse it"


@pytest.mark.parametrize("declared", [COUNTER, {**GAUGE, "source": {"metric_line": "rows"}}], ids=["counter", "gauge"])
async def test_label_sets_beyond_the_cap_stay_rejected_after_a_restart(
    site: Site, flow_run: str, declared: dict[str, object]
) -> None:
    capped = {**declared, "max_series": 2, "keep_generic": False}
    site.start(capped)
    for customer in ("a", "b", "c", "a"):
        site.fake.logs.emit("rows", 1, flow_run, customer=customer)
        site.fake.now += 1
    await site.read()
    assert site.rejected() == {"too_many": 1}
    site.start(capped)
    for customer in ("b", "d"):
        site.fake.logs.emit("rows", 1, flow_run, customer=customer)
    await site.read()
    assert site.rejected() == {"too_many": 2}


async def test_added_declaration_starts_at_zero_and_removed_one_is_forgotten(site: Site, flow_run: str) -> None:
    site.start()
    site.fake.logs.emit("rows", 1, flow_run)
    await site.read()
    site.start(COUNTER)
    await site.read()
    assert site.total("orders_rows_total") == 0, "counted under the generic name only"
    site.fake.logs.emit("rows", 10, flow_run)
    await site.read()
    assert site.total("orders_rows_total") == 10
    assert site.total(CUSTOM_OBSERVED) == 11
    site.start()
    assert site.series("orders_rows_total") == {}
    assert site.total(CUSTOM_OBSERVED) == 11
    site.start(COUNTER)
    await site.read()
    assert site.total("orders_rows_total") == 0, "lines are not counted again"


@pytest.mark.parametrize(
    "change",
    [{"labels": ["flow"]}, {"source": {"metric_line": "other"}}, {"buckets": [5]}],
    ids=lambda changes: next(iter(changes)),
)
async def test_changed_labels_source_or_buckets_start_over(
    site: Site, flow_run: str, change: dict[str, object]
) -> None:
    site.start(HISTOGRAM)
    site.fake.logs.emit("load", 3, flow_run)
    await site.read()
    assert site.total("orders_load_seconds") == 3
    site.start({**HISTOGRAM, "help": "Said in other words.", "max_series": 7})
    assert site.total("orders_load_seconds") == 3
    site.start({**HISTOGRAM, **change})
    assert site.series("orders_load_seconds") == {}


async def test_changed_type_is_refused_with_a_hint(site: Site, tmp_path: Path) -> None:
    counter, gauge = {**HISTOGRAM}, {**HISTOGRAM, "type": "gauge", "buckets": []}
    site.start(counter)
    with pytest.raises(
        LedgerError, match="custom_metrics: orders_load_seconds is declared as a gauge, but the ledger"
    ) as fault:
        site.start(gauge)
    assert "keeps it as a histogram" in str(fault.value)
    assert "remove the declaration, start once without it" in str(fault.value)
    site.process = None
    declared = settings_with(custom_metrics=[gauge]).metrics.custom_metrics
    with pytest.raises(LedgerError, match="remove the declaration"):
        inspect_ledger(f"sqlite:///{tmp_path}/ledger.db", API, declared=declared)
    site.start()
    site.start(gauge)


async def test_dropped_labels_are_summed_and_outlive_their_flow(site: Site, flow_run: str) -> None:
    site.start({**COUNTER, "labels": []})
    site.fake.logs.emit("rows", 1, flow_run, table="a")
    site.fake.logs.emit("rows", 2, flow_run, table="b")
    await site.read()
    assert set(site.series("orders_rows_total")) == {SeriesKey("orders_rows_total", NO_FLOW)}
    assert site.total("orders_rows_total") == 3


async def test_exposition_is_valid_in_both_formats(site: Site, flow_run: str) -> None:
    site.start(COUNTER, {**GAUGE, "unit": "rows"}, HISTOGRAM)
    site.fake.logs.write('METRIC: rows{table="a\\"b"}=3', flow_run)
    site.fake.logs.emit("last_rows", -1.5, flow_run)
    site.fake.logs.emit("load", 4, flow_run, table="orders")
    await site.read()
    text, openmetrics = await site.exposed()
    text = text[text.index("# HELP orders_") :]
    clean, complaints = promtool_check_metrics(text)
    assert clean, complaints
    for line in (
        "# TYPE orders_rows_total counter",
        "# TYPE orders_load_seconds histogram",
        'orders_load_seconds_bucket{flow="etl",le="10.0",table="orders"} 1.0',
        'orders_load_seconds_bucket{flow="etl",le="+Inf",table="orders"} 1.0',
        'orders_load_seconds_sum{flow="etl",table="orders"} 4.0',
        'orders_last_rows{deployment="daily",flow="etl",task=""} -1.5',
    ):
        assert line in text
    assert "# UNIT orders_load_seconds seconds" in openmetrics
    exposed = {sample.name for family in parse_openmetrics(openmetrics) for sample in family.samples}
    assert {"orders_rows_total", "orders_last_rows", "orders_load_seconds_bucket"} - exposed == set()
