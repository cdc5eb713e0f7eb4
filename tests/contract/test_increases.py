"""Increases under one name each: what the rules record, a backfill writes and the dashboards read."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from grafana.src.promql import INCREASES, SUMMED
from prefect_monitoring.backfill.families import FAMILIES
from prefect_monitoring.backfill.openmetrics import UNCHANGED
from prefect_monitoring.model.counted_metrics import COUNTED_METRICS, CountedMetric

RULES = Path(__file__).parents[2] / "prometheus/rules/increases.yml"


class Counter(NamedTuple):
    row: CountedMetric
    name: str  # as exposed

    @property
    def level(self) -> str:
        """Its level over all replicas."""
        labels = ", ".join(("workspace", *self.row.labels))
        if self.row.kind == "summary":  # its lines may have any further labels
            window = "last" if self.name.endswith("_sum") else "max"
            return f"max by ({labels}) (sum by (job, instance, {labels}) ({window}_over_time({self.name}[5m])))"
        return f"max by ({labels}) (max_over_time({self.name}[5m]))"

    @property
    def rules(self) -> tuple[tuple[str, str], tuple[str, str]]:
        """Name and expression of the increase, and of the last level."""
        increase, last = (self.row.recorded(self.name, what) for what in ("increase", "last"))
        difference = f"{self.level} - last_over_time({last}[2d])"
        if self.name == "prefect_custom_metric_observed_sum":
            count = self.row.recorded("prefect_custom_metric_observed_count", "increase")
            grown = f"({difference} and {count})"
        else:
            grown = f"clamp_min({difference} != 0, 0)"
        return (
            (increase, f"{grown} * on (workspace) group_left () {UNCHANGED}"),
            (last, f"{self.level} unless (last_over_time({last}[1d]) unless {increase})"),
        )


def counters() -> Iterator[Counter]:
    return (Counter(row, name) for row in COUNTED_METRICS.values() if row.increases for name in row.counters)


SUMMED_ROWS = [row for row in COUNTED_METRICS.values() if row.summed_by]


def _on_one_line(expression: str) -> str:
    words = " ".join(expression.split())
    return words.replace("( ", "(").replace(" )", ")")


def expressions() -> dict[str, str]:
    """By the name of what is recorded, in the order of the file."""
    [group] = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return {rule["record"]: _on_one_line(rule["expr"]) for rule in group["rules"]}


@pytest.mark.parametrize("counter", [*counters()], ids=lambda counter: counter.name)
def test_rules_record_the_increase_and_the_last_level(counter: Counter) -> None:
    recorded = expressions()
    for name, expression in counter.rules:
        assert recorded[name] == expression


@pytest.mark.parametrize("row", SUMMED_ROWS, ids=lambda row: row.name)
def test_rules_sum_the_increases_of_this_minute(row: CountedMetric) -> None:
    recorded = expressions()
    each, of_all = row.recorded(row.name, "increase"), row.recorded(row.name, "increase", row.summed_by)
    labels = ", ".join(("workspace", *row.summed_by))
    assert recorded[of_all] == f"sum by ({labels}) ({each} and timestamp({each}) == time())"
    assert [*recorded].index(each) < [*recorded].index(of_all), "it reads what was recorded just before"


def test_no_rule_records_another_increase() -> None:
    names = [*expressions()]
    expected = {name for counter in counters() for name, _ in counter.rules}
    assert {*names} == {UNCHANGED, *expected, *SUMMED.values()}
    for counter in counters():
        (increase, _), (last, _) = counter.rules
        assert names.index(increase) < names.index(last), "the increase is the difference to the level before"


def test_dashboards_and_backfill_use_the_names_of_the_rules() -> None:
    recorded = {counter.name: counter.rules[0][0] for counter in counters()}
    assert recorded == INCREASES
    summed = {row.name: row.recorded(row.name, "increase", row.summed_by) for row in SUMMED_ROWS}
    assert summed == SUMMED
    written = {family.name for family in FAMILIES if family.part != "level"}
    backfilled = {name for counter in counters() if counter.row.backfilled for name, _ in counter.rules}
    assert written == {*backfilled, *summed.values()}
