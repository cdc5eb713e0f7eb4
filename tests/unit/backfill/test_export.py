"""Export of a backfilled ledger: counted newest first, written oldest first, with the same totals."""

import random
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from prefect_monitoring.backfill.export import Past
from prefect_monitoring.backfill.output_folder import Output, open_output
from prefect_monitoring.backfill.tsdb_blocks import BlocksError
from prefect_monitoring.config.settings import MetricSettings
from prefect_monitoring.ledger.backfill_journal import Plan
from prefect_monitoring.ledger.ledger import Ledger
from prefect_monitoring.ledger.opening import open_ledger
from prefect_monitoring.model import counted_metrics
from prefect_monitoring.model.changes import Changes, SeriesKey
from prefect_monitoring.model.counted_metrics import DEFAULT_BOUNDS
from prefect_monitoring.model.records import Pipeline
from prefect_monitoring.model.units import DAY
from unit.ledger_values import lookbacks_of

HOUR = 3600
MIDNIGHT = 20_000 * DAY
API = "http://127.0.0.1:4200/api"
DURATION = SeriesKey(counted_metrics.DURATION, Pipeline("etl", "main"))


def ledger_with(path: Path, seconds: list[tuple[float, float]]) -> Ledger:
    """A ledger whose backfill counted these (end, duration) newest first, two at a time."""
    url = f"sqlite:///{path / 'ledger.db'}"
    ledger = open_ledger(url, API, bounds=DEFAULT_BOUNDS, lookbacks=lookbacks_of(30 * DAY), now=MIDNIGHT + 3 * DAY)
    ledger.store_plan(Plan(30 * DAY, HOUR))
    newest_first = sorted(seconds, reverse=True)
    for start in range(0, len(newest_first), 2):
        changes = Changes()
        for end, duration in newest_first[start : start + 2]:
            changes.observe(DURATION, end, duration)
        ledger.commit(changes, None, MIDNIGHT + 3 * DAY)
    return ledger


def output_in(path: Path, end: int) -> Output:
    output = open_output(path / "past", HOUR, {"job": "prefect-monitoring"})
    output.end = end
    return output


def last_sample(output: Output, name: str) -> float:
    [*_, newest] = sorted(output.texts.glob("*.om"))
    families = text_string_to_metric_families(newest.read_bytes().decode())
    return float([sample.value for family in families for sample in family.samples if sample.name == name][-1])


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.slow
def test_live_sum_is_never_below_the_backfilled_sum(tmp_path: Path, seed: int) -> None:
    """Prometheus would take a lower value for a reset and count the whole sum again."""
    chance = random.Random(seed)
    ended = [(MIDNIGHT + number * HOUR / 3 + 1.0, chance.uniform(0.001, 300)) for number in range(140)]
    ledger = ledger_with(tmp_path, ended)
    output = output_in(tmp_path, MIDNIGHT + 2 * DAY)
    past = Past(ledger, MetricSettings(), output)
    for day in past.history.days:
        past.write_day(day)
    past.join()
    assert ledger.series[DURATION].value >= last_sample(output, f"{counted_metrics.DURATION}_sum")
    ledger.close()
    again = open_ledger(
        f"sqlite:///{tmp_path / 'ledger.db'}", API, bounds=DEFAULT_BOUNDS, lookbacks=lookbacks_of(1), now=MIDNIGHT
    )
    assert again.series[DURATION].value >= last_sample(output, f"{counted_metrics.DURATION}_sum")
    again.close()


def test_export_that_does_not_add_up_to_the_counters_is_refused(tmp_path: Path) -> None:
    ledger = ledger_with(tmp_path, [(MIDNIGHT + 60.0, 5.0), (MIDNIGHT + 9000.0, 7.0)])
    ledger.replace_values({DURATION: 12.5}, MIDNIGHT)
    past = Past(ledger, MetricSettings(), output_in(tmp_path, MIDNIGHT + 4 * HOUR))
    for day in past.history.days:
        past.write_day(day)
    with pytest.raises(BlocksError, match=r"comes to 12, but the ledger counts 12\.5"):
        past.join()
    ledger.close()


def test_export_has_declared_counters_and_histograms_but_no_gauges(tmp_path: Path) -> None:
    declared = MetricSettings.model_validate(
        {
            "custom_metrics": [
                {"name": "rows_total", "type": "counter", "help": "Rows.", "labels": ["flow", "table"]},
                {"name": "load_seconds", "type": "histogram", "help": "Loads.", "buckets": [1]},
                {"name": "size_bytes", "type": "gauge", "help": "Size."},
            ]
        }
    )
    ledger = open_ledger(
        f"sqlite:///{tmp_path / 'ledger.db'}",
        API,
        bounds=DEFAULT_BOUNDS,
        lookbacks=lookbacks_of(30 * DAY),
        now=MIDNIGHT + 3 * DAY,
        declared=declared.custom_metrics,
    )
    ledger.store_plan(Plan(30 * DAY, HOUR))
    changes = Changes()
    rows = SeriesKey("rows_total", Pipeline("etl", ""), labels=(("table", "orders"),))
    changes.count(rows, MIDNIGHT + 60.0, 5)
    changes.observe(SeriesKey("load_seconds", Pipeline("etl", "main")), MIDNIGHT + 60.0, 7.0)
    ledger.commit(changes, None, MIDNIGHT + 3 * DAY)
    output = output_in(tmp_path, MIDNIGHT + 4 * HOUR)
    past = Past(ledger, declared, output)
    for day in past.history.days:
        past.write_day(day)
    past.join()
    text = "".join(file.read_text() for file in sorted(output.texts.glob("*.om")))
    assert last_sample(output, "rows_total") == 5
    assert 'rows_total{flow="etl",table="orders",job="prefect-monitoring"}' in text
    assert (last_sample(output, "load_seconds_sum"), last_sample(output, "load_seconds_count")) == (7, 1)
    assert "size_bytes" not in text
    ledger.close()
