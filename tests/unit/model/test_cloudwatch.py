"""PutMetricData requests stay within AWS's limits and lose no value."""

from __future__ import annotations

import gzip
import json
import math
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_monitoring.model.cloudwatch import (
    MAX_BYTES,
    Datum,
    check_namespace,
    is_in_time,
    make_datum,
    merge,
    requests,
)

NOW = 1_800_000_000.0


def datum(name: str = "rows", value: float = 1, timestamp: float = NOW, **dimensions: str) -> Datum:
    return make_datum(name, value, "Count", dimensions, timestamp)


def pushed(parameters: list[dict[str, Any]]) -> Counter[tuple[str, float]]:
    """How often each value of each metric is in the requests."""
    counts: Counter[tuple[str, float]] = Counter()
    for request in parameters:
        for member in request["MetricData"]:
            for value, count in zip(member["Values"], member["Counts"], strict=True):
                counts[member["MetricName"], value] += count
    return counts


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"name": ""}, "a name has"),
        ({"name": "n" * 256}, "a name has"),
        ({"name": "größe"}, "printable ASCII"),
        ({"unit": "Rows"}, "'Rows' is no unit"),
        ({"value": math.nan}, "nan is not a finite"),
        ({"value": -math.inf}, "inf is not a finite"),
        ({"value": 2.0**361}, "can hold"),
        ({"value": 2.0**-361}, "can hold"),
        ({"dimensions": {f"d{number}": "x" for number in range(31)}}, "31 dimensions, at most 30"),
        ({"dimensions": {":d": "x"}}, "no colon first"),
        ({"dimensions": {"d": " "}}, "dimension d: a value"),
        ({"dimensions": {"d": "x" * 1025}}, "1 to 1024"),
        ({"dimensions": {"d": 7}}, "dimension d: a value"),
        ({"resolution": 5}, "1 or 60 seconds"),
    ],
)
def test_make_datum_with_a_broken_rule_raises_and_names_it(change: dict[str, Any], rule: str) -> None:
    arguments = {"name": "rows", "value": 1, "unit": "Count", "dimensions": {}, "timestamp": NOW} | change
    with pytest.raises(ValueError, match=rule):
        make_datum(**arguments)


def test_make_datum_sorts_dimensions_and_leaves_out_empty_ones() -> None:
    assert datum(table="orders", env="prod", team="").dimensions == (("env", "prod"), ("table", "orders"))


@pytest.mark.parametrize("namespace", ["", "AWS/Lambda", ":x", "a|b", "n" * 256])
def test_check_namespace_that_aws_refuses_raises(namespace: str) -> None:
    with pytest.raises(ValueError, match="namespace"):
        check_namespace(namespace)


@pytest.mark.parametrize(
    ("seconds", "taken"), [(0, True), (-14 * 86400, True), (-14 * 86400 - 1, False), (7200, True), (7201, False)]
)
def test_is_in_time_accepts_two_weeks_back_and_two_hours_ahead(seconds: float, taken: bool) -> None:
    assert is_in_time(datum(timestamp=NOW + seconds), NOW) is taken


def test_merge_counts_equal_values_of_a_minute_and_keeps_metrics_apart() -> None:
    minute = NOW // 60 * 60
    data = [datum(value=value, timestamp=minute + second) for second, value in enumerate([5, 7, 5])]
    data += [datum(value=5, timestamp=minute + 60), datum(value=5, timestamp=minute, table="orders")]
    assert [(merged.timestamp, merged.values, merged.counts, merged.dimensions) for merged in merge(data)] == [
        (minute, (5.0, 7.0), (2.0, 1.0), ()),
        (minute + 60, (5.0,), (1.0,), ()),
        (minute, (5.0,), (1.0,), (("table", "orders"),)),
    ]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 400), st.integers(0, 180)), max_size=600))
def test_requests_of_anything_merged_lose_nothing_and_keep_the_limits(
    observed: list[tuple[str, int, int]],
) -> None:
    data = merge(datum(name, value, NOW + second) for name, value, second in observed)
    parameters = list(requests("DataPipelines", data))
    assert pushed(parameters) == Counter((name, float(value)) for name, value, _ in observed)
    assert all(len(request["MetricData"]) <= 1000 for request in parameters)
    assert all(1 <= len(member["Values"]) <= 150 for request in parameters for member in request["MetricData"])


def test_requests_of_a_thousand_and_one_metrics_are_two() -> None:
    data = [datum(f"m{number}") for number in range(1001)]
    assert [len(request["MetricData"]) for request in requests("x", data)] == [1000, 1]


@pytest.mark.slow
def test_requests_of_incompressible_data_are_split_below_a_megabyte() -> None:
    data = [
        Datum(
            f"m{number}",
            tuple((f"d{key}", f"{hash((number, key)):x}" * 60) for key in range(30)),
            "Count",
            NOW,
            tuple(math.sin(number * 150 + at) for at in range(150)),
            tuple(math.cos(number * 150 + at) + 2 for at in range(150)),
        )
        for number in range(400)
    ]
    parameters = list(requests("x", data))
    sizes = [len(gzip.compress(json.dumps(request["MetricData"], default=str).encode())) for request in parameters]
    assert len(parameters) > 1
    assert sum(len(request["MetricData"]) for request in parameters) == 400
    assert max(sizes) <= MAX_BYTES
