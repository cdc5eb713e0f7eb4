"""Label values of bounded length."""

from __future__ import annotations

from prefect_monitoring.metrics.family import Metric
from prefect_monitoring.model.label_values import MAX_LENGTH, bounded
from unit.snapshots import make_snapshot


def test_value_up_to_the_limit_is_unchanged() -> None:
    assert bounded("x" * MAX_LENGTH) == "x" * MAX_LENGTH
    assert bounded("") == ""


def test_two_long_values_that_begin_alike_are_two_series() -> None:
    names = [f"{'x' * 5000}{end}" for end in ("a", "b", "\ud800")]
    metric = Metric("prefect_example", "gauge", "Help.", ("flow",), lambda _: [((name,), 1.0) for name in names])
    values = {sample.labels["flow"] for sample in metric.family(make_snapshot()).samples}
    assert len(values) == 3
    assert {len(value) for value in values} == {MAX_LENGTH}
    assert all(value.startswith("x" * 491 + "~") for value in values)
    assert bounded(names[0]) == bounded(names[0])
