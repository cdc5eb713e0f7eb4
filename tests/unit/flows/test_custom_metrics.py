"""emit_metric writes lines that the exporter can read, and refuses others at once."""

from __future__ import annotations

import logging
import math
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_monitoring.analysis.metric_lines import RESERVED_LABELS, Observation, parse
from prefect_monitoring.flows import custom_metrics, emit_metric
from prefect_monitoring.flows.custom_metrics import metric_line

NAMES = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,99}", fullmatch=True)
LABEL_NAMES = NAMES.filter(
    lambda name: name not in RESERVED_LABELS and not name.startswith(("__", "exported_")) and name.isascii()
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\0"), max_size=200)
VALUES = st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**60), 2**60))


@given(NAMES, VALUES, st.dictionaries(LABEL_NAMES, TEXTS, max_size=5))
def test_metric_line_any_allowed_observation_reads_back_the_same(
    name: str, value: float, labels: dict[str, str]
) -> None:
    parsed = parse(metric_line(name, value, labels))
    expected = tuple(sorted((key, text) for key, text in labels.items() if text))
    assert parsed.observations == (Observation(name, expected, float(value)),)
    assert not parsed.rejected


@pytest.mark.parametrize(
    ("name", "value", "labels", "rule"),
    [
        ("rows-loaded", 1, {}, "letters, digits and underscores"),
        ("1st", 1, {}, "not a digit first"),
        ("", 1, {}, "letters, digits"),
        ("rows=2 b", 1, {}, "letters, digits"),
        ("a" * 101, 1, {}, "at most 100"),
        ("rows", math.nan, {}, "finite"),
        ("rows", math.inf, {}, "finite"),
        ("rows", 10**400, {}, "finite"),
        ("rows", 1, {"flow": "x"}, "sets .*flow"),
        ("rows", 1, {"__name__": "x"}, "reserved"),
        ("rows", 1, {f"l{number}": "x" for number in range(6)}, "at most 5 labels"),
        ("rows", 1, {"table": "x" * 201}, "200 characters"),
        ("rows", 1, {"table": "a\rb"}, "carriage return"),
    ],
)
def test_emit_metric_with_a_broken_rule_raises_and_names_it(
    name: str, value: float, labels: dict[str, str], rule: str
) -> None:
    with pytest.raises(ValueError, match=rule):
        emit_metric(name, value, **labels)


@pytest.mark.parametrize("value", ["12", b"1", None, [1], 1j, {}])
def test_emit_metric_of_no_number_raises_type_error(value: object) -> None:
    with pytest.raises(TypeError, match="rows"):
        emit_metric("rows", value)  # type: ignore[arg-type]


def test_emit_metric_label_that_is_no_text_raises_type_error() -> None:
    with pytest.raises(TypeError, match="label 'table'"):
        emit_metric("rows", 1, table=7)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "written"), [(3, "3"), (True, "1"), (Decimal("2.50"), "2.5"), (Fraction(1, 4), "0.25")]
)
def test_metric_line_of_other_numbers_is_a_plain_number(value: float, written: str) -> None:
    assert metric_line("rows", value, {}) == f"METRIC: rows={written}"


def test_emit_metric_outside_a_run_logs_plainly(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "prefect_monitoring.flows"):
        emit_metric("rows_loaded", 42, table='or"ders')
    assert caplog.messages == [r'METRIC: rows_loaded{table="or\"ders"}=42']


def test_emit_metric_below_the_log_level_of_its_run_warns(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = logging.getLogger("team.flows")
    monkeypatch.setattr(custom_metrics, "run_logger", lambda: logger)
    with caplog.at_level(logging.WARNING, logger.name):
        emit_metric("rows_loaded", 42)
    assert "rows_loaded is lost" in caplog.text


def test_emit_metric_outside_a_run_without_info_lines_is_silent(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "prefect_monitoring.flows"):
        emit_metric("rows_loaded", 42)
    assert not caplog.messages
