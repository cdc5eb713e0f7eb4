"""The bytes of a scrape: every line of a small snapshot, in both formats."""

from __future__ import annotations

import gzip
import logging
import platform
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from prefect_monitoring.metrics import CATALOGUE, shown_metrics
from prefect_monitoring.model.changes import LastValue, SeriesKey
from prefect_monitoring.model.counted_metrics import (
    CUSTOM_OBSERVED,
    CUSTOM_VALUE,
    DURATION,
    OUTCOMES,
    RETRIES,
    START_DELAY,
    TASK_DURATION,
)
from prefect_monitoring.model.inventory import Inventory
from prefect_monitoring.model.records import Pipeline
from prefect_monitoring.model.series import Series
from prefect_monitoring.snapshot.model import Snapshot
from prefect_monitoring.web.exposition import render
from unit.snapshots import NOW, PIPELINE, counter, make_snapshot

GOLDEN = Path(__file__).with_name("golden_exposition.txt")


def without_process(text: str) -> str:
    lines = text.splitlines(keepends=True)
    return "".join(
        line for line in lines if not line.removeprefix("# HELP ").removeprefix("# TYPE ").startswith("process_")
    )


def test_exposition_of_a_small_snapshot_matches_line_by_line() -> None:
    text = without_process(render(make_snapshot(), CATALOGUE).text.plain.decode())
    expected = GOLDEN.read_text(encoding="utf-8").replace("PYTHON_VERSION", platform.python_version())
    assert text == expected


def samples(families: object) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    values = {}
    for family in families:  # type: ignore[attr-defined]
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in values, key
            values[key] = sample.value
    return values


def test_both_formats_parse_to_the_same_samples() -> None:
    exposition = render(make_snapshot(), CATALOGUE)
    openmetrics = samples(parse_openmetrics(exposition.openmetrics.plain.decode()))
    text = samples(parse_text(exposition.text.plain.decode()))
    ours = {key: value for key, value in text.items() if not key[0].startswith("process_")}
    assert ours.items() <= openmetrics.items()
    assert ours[OUTCOMES, (("deployment", ""), ("flow", 'we"ird\\\nflow'), ("state", "completed"))] == 0
    assert (
        ours["prefect_flow_run_duration_seconds_bucket", (("deployment", "daily"), ("flow", "etl"), ("le", "2.5"))]
        == 11
    )
    assert ours["prefect_flow_run_duration_seconds_count", (("deployment", "daily"), ("flow", "etl"))] == 12
    assert exposition.openmetrics.plain.endswith(b"# EOF\n")


def test_process_metrics_are_exposed() -> None:
    assert b"process_resident_memory_bytes" in render(make_snapshot(), CATALOGUE).text.plain


def test_gzipped_exposition_is_the_same() -> None:
    exposition = render(make_snapshot(), CATALOGUE)
    for body in (exposition.text, exposition.openmetrics):
        assert gzip.decompress(body.gzipped) == body.plain


def test_disabled_metrics_are_not_exposed() -> None:
    metrics = shown_metrics((), ("prefect_flow_run_duration_seconds", OUTCOMES))
    text = render(make_snapshot(), metrics).text.plain.decode()
    starts = {line.removeprefix("# TYPE ").partition("{")[0].partition(" ")[0] for line in text.splitlines()}
    assert not {name for name in starts if name.startswith(("prefect_flow_run_duration_seconds", OUTCOMES))}
    assert "prefect_flow_run_start_delay_seconds_bucket" in starts


def test_duplicate_series_drop_only_their_family(caplog: pytest.LogCaptureFixture) -> None:
    snapshot = make_snapshot()
    twice = {**snapshot.series[RETRIES], SeriesKey(RETRIES, PIPELINE, "no label shows this"): counter(1.0)}
    with caplog.at_level(logging.ERROR):
        text = render(replace(snapshot, series={**snapshot.series, RETRIES: twice}), CATALOGUE).text.plain.decode()
    assert f"# TYPE {RETRIES} " not in text
    everything_else = {metric.name for metric in CATALOGUE} - {RETRIES}
    assert all(f"# TYPE {name} " in text for name in everything_else)
    assert [RETRIES in record.message for record in caplog.records] == [True]


def test_ledger_series_are_hidden_before_the_baseline_and_gauges_once_stale() -> None:
    snapshot = replace(
        make_snapshot(),
        series={},
        values={},
        run_stats={},
        quantiles={},
        active=None,
        active_tasks=None,
        deployments=None,
        schedules={},
        policies={},
        inventory=Inventory(),
    )
    text = render(snapshot, CATALOGUE).text.plain.decode()
    exposed = {line.partition("{")[0].partition(" ")[0] for line in text.splitlines() if line.startswith("prefect_")}
    assert {name for name in exposed if not name.startswith("prefect_exporter_")} == {"prefect_up"}
    assert "\nprefect_up 1.0\n" in text


@pytest.mark.parametrize("name", ["", "ünïcödé 🚀", "a\\nb", "\u2028", "{}", '"', "\x00"])
def test_hostile_names_are_escaped_in_both_formats(name: str) -> None:
    outcomes = {SeriesKey(OUTCOMES, Pipeline(name, name), "completed"): counter(7.0)}
    snapshot = replace(make_snapshot(), series={OUTCOMES: outcomes})
    exposition = render(snapshot, CATALOGUE)
    key = (OUTCOMES, (("deployment", name), ("flow", name), ("state", "completed")))
    assert samples(parse_text(exposition.text.plain.decode()))[key] == 7
    assert samples(parse_openmetrics(exposition.openmetrics.plain.decode()))[key] == 7


def test_exception_in_one_family_hides_no_other(caplog: pytest.LogCaptureFixture) -> None:
    def broken(_: object) -> object:
        raise ZeroDivisionError

    first, *others = CATALOGUE
    text = render(make_snapshot(), (replace(first, rows=broken), *others)).text.plain.decode()
    assert f"# TYPE {first.name} " not in text
    assert all(f"# TYPE {metric.name} " in text for metric in others)
    assert f"Not exposed: {first.name}" in caplog.text


# Custom metrics


def custom(metric: str, value: float, **labels: str) -> Snapshot:
    """Adds last value, sum and count of a custom metric."""
    snapshot = make_snapshot()
    own = tuple(sorted(labels.items()))
    observed = {SeriesKey(CUSTOM_OBSERVED, PIPELINE, metric, "", own): Series(value, (1,), released=True)}
    return replace(
        snapshot,
        series={**snapshot.series, CUSTOM_OBSERVED: {**snapshot.series[CUSTOM_OBSERVED], **observed}},
        values={**snapshot.values, SeriesKey(CUSTOM_VALUE, PIPELINE, metric, "", own): LastValue(value, NOW)},
    )


def sample_of(snapshot: Snapshot, name: str, **labels: str) -> float:
    wanted = {"flow": "etl", "deployment": "daily", "task": "", **labels}
    exposition = render(snapshot, CATALOGUE)
    both = (
        samples(parse_text(exposition.text.plain.decode())),
        samples(parse_openmetrics(exposition.openmetrics.plain.decode())),
    )
    values = {
        value
        for samples_of_format in both
        for (sample, pairs), value in samples_of_format.items()
        if sample == name and {label: text for label, text in pairs if text} == {k: v for k, v in wanted.items() if v}
    }
    assert len(values) == 1
    return values.pop()


def test_custom_labels_are_the_union_over_all_lines() -> None:
    snapshot = custom("bytes", 9.0, customer="acme", table="orders")
    labels = {"metric": "bytes", "customer": "acme", "table": "orders"}
    assert sample_of(snapshot, "prefect_custom_metric_value", **labels) == 9
    assert sample_of(snapshot, "prefect_custom_metric_observed_sum", **labels) == 9
    assert sample_of(snapshot, "prefect_custom_metric_observed_count", **labels) == 1
    labels = {"metric": "temperature", "room": "a", "sensor": "2"}
    assert sample_of(snapshot, "prefect_custom_metric_value", **labels) == 21.25


def test_no_custom_labels_without_lines() -> None:
    snapshot = replace(make_snapshot(), values={}, series={}, policies={})
    for metric in CATALOGUE:
        if metric.more_labels is not None:
            assert metric.more_labels(snapshot) == ()
            assert metric.family(snapshot).samples == []


@pytest.mark.parametrize("text", ["ünïcödé 🚀", "a\\nb", "\u2028", "{}", '"', "a\nb", "\\"])
def test_hostile_label_values_are_escaped_in_both_formats(text: str) -> None:
    assert sample_of(custom("rows", 3.0, table=text), "prefect_custom_metric_value", metric="rows", table=text) == 3


def test_negative_numbers_are_readable_in_both_formats() -> None:
    """OpenMetrics allows no negative sums: its reference parser refuses the whole scrape."""
    assert sample_of(custom("degrees", -3.5), "prefect_custom_metric_value", metric="degrees") == -3.5


# Optional metrics


def test_task_histogram_is_shown_only_on_request() -> None:
    for names, is_shown in (((), False), ((TASK_DURATION,), True)):
        text = render(make_snapshot(), shown_metrics(names, ())).text.plain.decode()
        assert (f"# TYPE {TASK_DURATION} " in text) == is_shown
        assert (f"{TASK_DURATION}_bucket" in text) == is_shown


def test_task_histogram_without_tasks_is_exposed() -> None:
    """Also if the ledger was opened without its bounds."""
    snapshot = make_snapshot()
    bare = replace(snapshot, series={}, bounds={DURATION: (1.0,), START_DELAY: (1.0,)})
    text = render(bare, shown_metrics((TASK_DURATION,), ())).text.plain.decode()
    assert f"# TYPE {TASK_DURATION} histogram\n" in text
    assert f"{TASK_DURATION}_bucket" not in text
