"""The exported past on a grid: when each series begins, and its value in each slot."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from prefect_monitoring.backfill.families import FAMILIES, exposed, first_slots, labels_of
from prefect_monitoring.backfill.openmetrics import History, Size, Totals, add_up, cost, write_day
from prefect_monitoring.backfill.tsdb_blocks import are_whole, blocks_of_day, remove_blocks
from prefect_monitoring.ledger.backfill_journal import Move, slot_of
from prefect_monitoring.metrics import CATALOGUE
from prefect_monitoring.model import counted_metrics
from prefect_monitoring.model.changes import SeriesKey
from prefect_monitoring.model.counted_metrics import COUNTED_METRICS, CUSTOM_OBSERVED, TASK_OUTCOMES, TASK_SECONDS
from prefect_monitoring.model.records import Pipeline
from prefect_monitoring.model.units import DAY

HOUR = 3600
MIDNIGHT = 20_000 * DAY
PIPELINE = Pipeline("etl", "main")
COMPLETED = SeriesKey(counted_metrics.OUTCOMES, PIPELINE, "completed")
FAILED = SeriesKey(counted_metrics.OUTCOMES, PIPELINE, "failed")
CANCELLED = SeriesKey(counted_metrics.OUTCOMES, PIPELINE, "cancelled")
DURATION = SeriesKey(counted_metrics.DURATION, PIPELINE)
ROWS = SeriesKey(CUSTOM_OBSERVED, PIPELINE, "rows", "load", (("table", "orders"),))
TARGET = {"job": "prefect-monitoring", "workspace": "production"}


def history(first_slots: dict[SeriesKey, int], end: int, step: int = HOUR) -> History:
    return History(FAMILIES, first_slots, step, end, TARGET)


def samples_of(files: list[Path]) -> dict[tuple[str, tuple[tuple[str, str], ...]], list[tuple[float, float]]]:
    """The (timestamp, value) samples of every series, in the order of the files."""
    samples: dict[tuple[str, tuple[tuple[str, str], ...]], list[tuple[float, float]]] = {}
    for file in files:
        for family in text_string_to_metric_families(file.read_bytes().decode()):
            for sample in family.samples:
                key = sample.name, tuple(sorted(sample.labels.items()))
                samples.setdefault(key, []).append((float(sample.timestamp), sample.value))
    return samples


def test_family_has_the_name_and_labels_of_the_live_metric() -> None:
    assert {family.metric for family in FAMILIES} == {name for name, row in COUNTED_METRICS.items() if row.backfilled}
    live = {metric.name: metric for metric in CATALOGUE}
    for family in FAMILIES:
        names = {family.metric, family.name} & live.keys()
        assert names, family
        labels = set(live[names.pop()].labels)
        key = SeriesKey(family.metric, PIPELINE, "some", "load" if "task" in labels else "")
        written = {part.split("=")[0] for part in labels_of(family, key, {}).split(",")}
        assert written == labels, family.name


def test_disabled_metric_is_not_exported() -> None:
    kept = exposed(FAMILIES, [counted_metrics.OUTCOMES, f"{CUSTOM_OBSERVED}_sum"])
    assert len(kept) == len(FAMILIES) - 2
    assert not any(family.metric == counted_metrics.OUTCOMES for family in kept)


def test_series_begin_a_step_before_they_move_and_zero_born_ones_with_their_flow() -> None:
    first = {COMPLETED: 10 * HOUR, CANCELLED: 50 * HOUR, ROWS: 70 * HOUR}
    other = SeriesKey(counted_metrics.OUTCOMES, Pipeline("never", ""), "completed")
    task = SeriesKey(TASK_OUTCOMES, PIPELINE, "failed", "load")
    begun = first_slots([COMPLETED, FAILED, CANCELLED, DURATION, ROWS, other, task], first, HOUR)
    assert begun == {
        COMPLETED: 9 * HOUR,
        FAILED: 9 * HOUR,
        DURATION: 9 * HOUR,
        CANCELLED: 49 * HOUR,
        ROWS: 69 * HOUR,
        task: 69 * HOUR,
    }


@given(st.floats(1e9, 2e9), st.sampled_from([60, 900, 3600, 86400]))
def test_outcome_belongs_to_the_first_slot_at_or_after_it(at: float, step: int) -> None:
    slot = slot_of(at, step)
    assert slot % step == 0
    assert slot - step < at <= slot


@given(
    moves=st.lists(st.tuples(st.integers(1, 60), st.integers(1, 9)), min_size=1, max_size=40),
    hours=st.integers(1, 60),
)
def test_sample_is_the_sum_of_all_earlier_outcomes(
    tmp_path_factory: Any, moves: list[tuple[int, int]], hours: int
) -> None:
    """For any days and any end."""
    folder = tmp_path_factory.mktemp("texts")
    written = [Move(MIDNIGHT + hour * HOUR, COMPLETED, amount, 1) for hour, amount in sorted(moves)]
    past = history({COMPLETED: written[0].slot - HOUR}, MIDNIGHT + hours * HOUR)
    totals: Totals = {}
    files, samples = [], 0
    for day in past.days:
        mine = [move for move in written if day <= move.slot < day + DAY and move.slot <= past.end]
        files.append(folder / f"{day}.om")
        samples += write_day(files[-1], past, day, totals, mine).samples
        add_up(totals, mine)
    series = samples_of(files)
    assert samples == cost(past).samples == sum(map(len, series.values()))
    for points in series.values():
        assert [at for at, _ in points] == list(range(past.first_slots[COMPLETED], past.end + 1, HOUR))
        for at, value in points:
            assert value == sum(move.amount for move in written if move.slot <= at)


def test_series_that_begin_after_the_end_are_not_exported() -> None:
    assert list(history({COMPLETED: MIDNIGHT + 6 * HOUR}, MIDNIGHT + 5 * HOUR).days) == []
    assert list(history({COMPLETED: MIDNIGHT + 5 * HOUR}, MIDNIGHT + 5 * HOUR).days) == [MIDNIGHT]


def test_sums_and_counts_are_distinct(tmp_path: Path) -> None:
    past = history({DURATION: MIDNIGHT, ROWS: MIDNIGHT}, MIDNIGHT + HOUR)
    moves = [Move(MIDNIGHT + HOUR, DURATION, 12.5, 2), Move(MIDNIGHT + HOUR, ROWS, -4.0, 1)]
    size = write_day(tmp_path / "day.om", past, MIDNIGHT, {}, moves)
    assert size == Size(samples=8, series=4, bytes=(tmp_path / "day.om").stat().st_size)
    last = {name: points[-1][1] for (name, _), points in samples_of([tmp_path / "day.om"]).items()}
    assert last == {
        "prefect_flow_run_duration_seconds_sum": 12.5,
        "prefect_flow_run_duration_seconds_count": 2,
        "prefect_custom_metric_observed_sum": -4,
        "prefect_custom_metric_observed_count": 1,
    }
    labels = next(dict(labels) for (name, labels) in samples_of([tmp_path / "day.om"]) if name.endswith("observed_sum"))
    assert labels == {
        "flow": "etl",
        "deployment": "main",
        "task": "load",
        "metric": "rows",
        "table": "orders",
        **TARGET,
    }


@given(st.text(max_size=20), st.text(max_size=20))
def test_any_name_is_read_back_unchanged(tmp_path_factory: Any, flow: str, task: str) -> None:
    file = tmp_path_factory.mktemp("texts") / "day.om"
    key = SeriesKey(TASK_SECONDS, Pipeline(flow, ""), task=task)
    try:
        flow.encode(), task.encode()
    except UnicodeEncodeError:
        return
    write_day(file, history({key: MIDNIGHT}, MIDNIGHT), MIDNIGHT, {}, [])
    [(_, labels)] = samples_of([file])
    assert dict(labels) == {name: value for name, value in {"flow": flow, "task": task}.items() if value} | TARGET


def test_interrupted_write_leaves_no_file(tmp_path: Path) -> None:
    def cut_short() -> Any:
        yield Move(MIDNIGHT, COMPLETED, 1, 1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_day(tmp_path / "day.om", history({COMPLETED: MIDNIGHT}, MIDNIGHT), MIDNIGHT, {}, cut_short())
    assert not (tmp_path / "day.om").exists()


def test_blocks_without_all_samples_and_series_are_incomplete(tmp_path: Path) -> None:
    for number, (hour, samples, series) in enumerate([(0, 5, 1), (18, 4, 2), (26, 7, 2)]):
        block = tmp_path / f"01ABC{number}"
        block.mkdir()
        begin, end = (MIDNIGHT + hour * HOUR) * 1000, (MIDNIGHT + (hour + 5) * HOUR) * 1000 + 1
        stats = f'"stats": {{"numSamples": {samples}, "numSeries": {series}}}'
        (block / "meta.json").write_text(f'{{"minTime": {begin}, "maxTime": {end}, {stats}}}')
    blocks = blocks_of_day(tmp_path, MIDNIGHT)
    assert [block.samples for block in blocks] == [5, 4]
    assert are_whole(blocks, MIDNIGHT, Size(9, 2))
    assert not are_whole(blocks, MIDNIGHT, Size(10, 2))
    assert not are_whole(blocks, MIDNIGHT, Size(9, 3))
    assert not are_whole([], MIDNIGHT, Size(9, 2))
    tomorrow = blocks_of_day(tmp_path, MIDNIGHT + DAY)
    assert not are_whole(tomorrow, MIDNIGHT, Size(7, 2)), "beyond its day"
    remove_blocks(blocks)
    assert blocks_of_day(tmp_path, MIDNIGHT) == []
