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

from prefect_monitoring.exposition import OPENMETRICS, TEXT, render
from prefect_monitoring.fold import OUTCOMES, SeriesKey
from prefect_monitoring.metrics import CATALOGUE
from prefect_monitoring.records import Pair
from unit.snapshots import counter, make_snapshot

GOLDEN = Path(__file__).with_name("golden_exposition.txt")


def without_process(text: str) -> str:
    lines = text.splitlines(keepends=True)
    return "".join(
        line for line in lines if not line.removeprefix("# HELP ").removeprefix("# TYPE ").startswith("process_")
    )


def test_every_line_of_a_small_snapshot() -> None:
    text = without_process(render(make_snapshot()).text.plain.decode())
    expected = GOLDEN.read_text(encoding="utf-8").replace("PYTHON_VERSION", platform.python_version())
    assert text == expected


def samples(families: object) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    found = {}
    for family in families:  # type: ignore[attr-defined]
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found, key
            found[key] = sample.value
    return found


def test_both_formats_say_the_same_to_real_parsers() -> None:
    exposition = render(make_snapshot())
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


def test_process_metrics_are_there() -> None:
    assert b"process_resident_memory_bytes" in render(make_snapshot()).text.plain


def test_gzipped_is_the_same() -> None:
    exposition = render(make_snapshot())
    for body in (exposition.text, exposition.openmetrics):
        assert gzip.decompress(body.gzipped) == body.plain


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", TEXT),
        ("*/*", TEXT),
        ("text/plain;version=0.0.4;q=0.5,*/*;q=0.1", TEXT),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", TEXT),
        # Prometheus 2.42 and 3.x
        (
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            OPENMETRICS,
        ),
        (
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            OPENMETRICS,
        ),
        ("application/openmetrics-text", OPENMETRICS),
    ],
)
def test_format_is_what_the_scraper_accepts(accept: str, content_type: str) -> None:
    assert render(make_snapshot()).for_accept(accept).content_type == content_type


def test_metrics_that_are_off_are_not_exposed() -> None:
    text = render(make_snapshot(), ("prefect_flow_run_duration_seconds", OUTCOMES)).text.plain.decode()
    starts = {line.removeprefix("# TYPE ").partition("{")[0].partition(" ")[0] for line in text.splitlines()}
    assert not {name for name in starts if name.startswith(("prefect_flow_run_duration_seconds", OUTCOMES))}
    assert "prefect_flow_run_start_delay_seconds_bucket" in starts


def test_two_series_with_the_same_labels_cost_one_family_alone(caplog: pytest.LogCaptureFixture) -> None:
    snapshot = make_snapshot()
    assert snapshot.deployments is not None
    twice = replace(snapshot, deployments=snapshot.deployments * 2)
    with caplog.at_level(logging.ERROR):
        text = render(twice).text.plain.decode()
    assert "prefect_deployment_info" not in text
    everything_else = {metric.name for metric in CATALOGUE} - {"prefect_deployment_info"}
    assert all(f"# TYPE {name} " in text for name in everything_else)
    assert ["prefect_deployment_info" in record.message for record in caplog.records] == [True]


def test_nothing_of_the_ledger_before_the_level_and_nothing_stale() -> None:
    snapshot = replace(make_snapshot(), series={}, standings={}, active=None, deployments=None)
    text = render(snapshot).text.plain.decode()
    values = [line for line in text.splitlines() if line.startswith(("prefect_flow", "prefect_deployment"))]
    assert values == []
    assert "\nprefect_up 1.0\n" in text


@pytest.mark.parametrize("name", ["", "ünïcödé 🚀", "a\\nb", "\u2028", "{}", '"', "\x00"])
def test_hostile_names_survive_both_formats(name: str) -> None:
    snapshot = replace(make_snapshot(), series={SeriesKey(OUTCOMES, Pair(name, name), "completed"): counter(7.0)})
    exposition = render(snapshot)
    key = (OUTCOMES, (("deployment", name), ("flow", name), ("state", "completed")))
    assert samples(parse_text(exposition.text.plain.decode()))[key] == 7
    assert samples(parse_openmetrics(exposition.openmetrics.plain.decode()))[key] == 7


def test_defect_in_one_family_hides_no_other(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def broken(_: object) -> object:
        raise ZeroDivisionError

    first, *others = CATALOGUE
    monkeypatch.setattr("prefect_monitoring.exposition.CATALOGUE", (replace(first, rows=broken), *others))
    text = render(make_snapshot()).text.plain.decode()
    assert f"# TYPE {first.name} " not in text
    assert all(f"# TYPE {metric.name} " in text for metric in others)
    assert f"Not exposed: {first.name}" in caplog.text
