"""Declarations of custom metrics: refusals, their lines and suggestions."""

from __future__ import annotations

from pathlib import Path

import pytest

from prefect_monitoring.config.custom_metrics import RUN_LABELS, CustomMetric
from prefect_monitoring.config.loading import load_settings
from prefect_monitoring.config.metric_names import exposed_names, name_fault
from prefect_monitoring.config.settings import SettingsError

GOOD = {"name": "orders_rows", "type": "gauge", "help": "Rows of orders."}


def declare(tmp_path: Path, text: str) -> tuple[CustomMetric, ...]:
    file = tmp_path / "config.yml"
    file.write_text(f"custom_metrics:\n{text}")
    return load_settings({}, {}, file).metrics.custom_metrics


def faults(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        declare(tmp_path, text)
    return [line.removeprefix(f"{tmp_path}/config.yml:") for line in str(caught.value).splitlines()]


def test_declaration_has_defaults_and_its_line(tmp_path: Path) -> None:
    (metric,) = declare(tmp_path, "- name: orders_rows\n  type: gauge\n  help: Rows.\n")
    assert metric.reported_name == "orders_rows"
    assert (metric.labels, metric.enabled, metric.keep_generic) == (None, True, True)
    assert metric.place == f"{tmp_path}/config.yml:2: custom_metrics[0]"
    assert metric.row.labels == RUN_LABELS


def test_declaration_with_every_key_is_read(tmp_path: Path) -> None:
    (metric,) = declare(
        tmp_path,
        "- name: load_duration_seconds\n  type: histogram\n  help: How long loads take.\n  unit: seconds\n"
        "  source: {metric_line: load_seconds}\n  labels: [flow, table]\n  buckets: [1, 10]\n  enabled: false\n"
        "  max_series: 7\n  keep_generic: false\n",
    )
    assert metric.reported_name == "load_seconds"
    assert (metric.row.kind, metric.row.labels, metric.own_labels) == ("histogram", ("flow",), ("table",))
    assert (metric.buckets, metric.max_series, metric.enabled) == ((1, 10), 7, False)


@pytest.mark.parametrize(
    ("key", "value", "line", "message"),
    [
        ("type", "guage", 4, "type: 'guage' is not a type: write gauge, counter or histogram; did you mean `gauge`?"),
        ("name", "prefect_orders_rows", 3, "names that begin with prefect_ are the exporter's"),
        ("name", "up", 3, "belongs to Prometheus"),
        ("name", "ALERTS_FOR_STATE", 3, "belongs to Prometheus"),
        ("name", "scrape_rows", 3, "belongs to Prometheus"),
        ("name", "go_rows", 3, "belongs to Prometheus"),
        ("name", "process_rows", 3, "belongs to Prometheus"),
        ("name", "python_rows", 3, "belongs to Prometheus"),
        ("name", "orders:rows", 3, "colons are for the names of recording rules"),
        ("name", "1rows", 3, "a letter first"),
        ("name", "ordersRows", 3, "snake_case"),
        ("name", "orders_gauge", 3, "the type does not belong in the name"),
        ("name", "orders_total", 3, "suffix _total is not for the name of a gauge"),
        ("name", "orders_bucket", 3, "suffix _bucket is not for the name of a gauge"),
        ("name", "orders_duration_ms", 3, "give values in seconds"),
        ("name", "orders_milliseconds", 3, "give values in seconds"),
        ("name", "orders_megabytes", 3, "give values in bytes"),
        ("name", "orders_percent", 3, "give values in ratio"),
        ("unit", "items", 3, "did you mean `orders_rows_items`?"),
        ("unit", "Rows", 6, "unit"),
        ("labels", "[flow, table, table]", 6, "labels clash: table given more than once"),
        ("labels", "[le]", 6, "'le' clashes with a label that Prometheus or the exporter sets"),
        ("labels", "[__name__]", 6, "'__name__' clashes"),
        ("labels", "[deployment]", 6, "keep flow as well"),
        ("labels", "[my-table]", 6, "'my-table' is not a label name"),
        ("buckets", "[1, 2]", 6, "a gauge has no buckets"),
        ("buckets", "[2, 1]", 6, "bucket bounds ascend"),
        ("buckets", "[0, 1]", 6, "greater than 0"),
        ("max_series", "0", 6, "greater than 0"),
        ("lables", "[table]", 6, "there is no such key; did you mean `labels`?"),
        ("source", "{metric_lien: rows}", 6, "did you mean `metric_line`?"),
        ("source", "{metric_line: 'my rows'}", 6, "source.metric_line"),
        ("help", "''", 5, "help"),
    ],
)
def test_invalid_declaration_is_refused_with_its_line(
    tmp_path: Path, key: str, value: str, line: int, message: str
) -> None:
    keys = {**GOOD, key: value}
    text = "# a comment\n- " + "\n  ".join(f"{name}: {given}" for name, given in keys.items())
    (fault,) = faults(tmp_path, text)
    assert fault.startswith(f"{line}: custom_metrics[0].")
    assert message in fault


def test_counter_needs_its_suffix_and_a_histogram_its_buckets(tmp_path: Path) -> None:
    text = "- {name: a_rows, type: counter, help: A.}\n- {name: b_seconds, type: histogram, help: B.}\n"
    assert faults(tmp_path, text) == [
        "2: custom_metrics[0].name: 'a_rows' is a counter, and names of counters end in _total; did you mean"
        " `a_rows_total`?",
        "3: custom_metrics[1].type: a histogram needs buckets",
    ]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("{name: rows_total, type: counter, help: A.}", "{name: rows, type: gauge, help: B.}"),
        ("{name: rows, type: gauge, help: A.}", "{name: rows, type: gauge, help: B.}"),
        ("{name: rows, type: histogram, help: A., buckets: [1]}", "{name: rows_total, type: counter, help: B.}"),
    ],
)
def test_two_metrics_with_one_name_are_refused(tmp_path: Path, first: str, second: str) -> None:
    (fault,) = faults(tmp_path, f"- {first}\n- {second}\n")
    assert fault.startswith("3: custom_metrics[1].name: ")
    assert "clashes with" in fault


@pytest.mark.parametrize(
    ("name", "kind", "unit"),
    [
        ("dbt_rows_loaded_total", "counter", ""),
        ("dbt_load_duration_seconds", "histogram", "seconds"),
        ("dbt_busy_seconds_total", "counter", "seconds"),
        ("warehouse_size_bytes", "gauge", "bytes"),
        ("h_rows", "gauge", "rows"),
    ],
)
def test_conventional_names_are_accepted(name: str, kind: str, unit: str) -> None:
    assert name_fault(name, kind, unit) is None


def test_sample_names_match_the_exposition() -> None:
    assert exposed_names("a_total", "counter") == {"a", "a_total", "a_created"}
    assert exposed_names("a", "histogram") == {"a", "a_bucket", "a_sum", "a_count", "a_created"}
    assert exposed_names("a", "gauge") == {"a"}
