"""The exported past on a grid: when each series begins, and its value in each slot."""

from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from prefect_monitoring.backfill.families import FAMILIES, Family, exposed, first_slots, labels_of
from prefect_monitoring.backfill.openmetrics import UNCHANGED, History, Size, Totals, add_up, cost, write_day
from prefect_monitoring.backfill.tsdb_blocks import are_whole, blocks_of_day, remove_blocks
from prefect_monitoring.ledger.backfill_journal import Move, slot_of
from prefect_monitoring.metrics import CATALOGUE
from prefect_monitoring.metrics.exporter import LEDGER_CREATED
from prefect_monitoring.model import counted_metrics
from prefect_monitoring.model.changes import SeriesKey
from prefect_monitoring.model.counted_metrics import COUNTED_METRICS, CUSTOM_OBSERVED, TASK_OUTCOMES, TASK_SECONDS
from prefect_monitoring.model.records import Pipeline
from prefect_monitoring.model.units import DAY

HOUR = 3600
CREATED_AT = 1_764_500_000.25
MIDNIGHT = 20_000 * DAY
PIPELINE = Pipeline("etl", "main")
COMPLETED = SeriesKey(counted_metrics.OUTCOMES, PIPELINE, "completed")
FAILED = SeriesKey(counted_metrics.OUTCOMES, PIPELINE, "failed")
CANCELLED = SeriesKey(counted_metrics.OUTCOMES, PIPELINE, "cancelled")
DURATION = SeriesKey(counted_metrics.DURATION, PIPELINE)
ROWS = SeriesKey(CUSTOM_OBSERVED, PIPELINE, "rows", "load", (("table", "orders"),))
TARGET = {"job": "prefect-monitoring", "workspace": "production"}


LEVELS = tuple(family for family in FAMILIES if family.part == "level")


def history(
    first_slots: dict[SeriesKey, int],
    end: int,
    step: int = HOUR,
    families: tuple[Family, ...] = LEVELS,
    moves: Collection[Move] = (),
    unmoved: Collection[SeriesKey] = (),
) -> History:
    counts = Counter(move.key for move in moves)
    return History(families, first_slots, step, end, TARGET, CREATED_AT, counts, frozenset(unmoved))


def samples_of(files: list[Path]) -> dict[tuple[str, tuple[tuple[str, str], ...]], list[tuple[float, float]]]:
    """The (timestamp, value) samples of every series but those about the ledger, in the order of the files."""
    samples: dict[tuple[str, tuple[tuple[str, str], ...]], list[tuple[float, float]]] = {}
    for file in files:
        for family in text_string_to_metric_families(file.read_bytes().decode()):
            for sample in family.samples if family.name not in {LEDGER_CREATED, UNCHANGED} else ():
                key = sample.name, tuple(sorted(sample.labels.items()))
                samples.setdefault(key, []).append((float(sample.timestamp), sample.value))
    return samples


def write_days(folder: Path, past: History, moves: list[Move]) -> tuple[list[Path], int]:
    """The files of all days, and the number of their samples."""
    totals: Totals = {}
    files, samples = [], 0
    for day in past.days:
        mine = [move for move in moves if day <= move.slot < day + DAY and move.slot <= past.end]
        files.append(folder / f"{day}.om")
        samples += write_day(files[-1], past, day, totals, mine).samples
        add_up(totals, mine)
    return files, samples


def test_family_has_the_name_and_labels_of_the_live_metric() -> None:
    assert {family.metric for family in FAMILIES} == {name for name, row in COUNTED_METRICS.items() if row.backfilled}
    live = {metric.name: metric for metric in CATALOGUE}
    for family in LEVELS:
        names = {family.metric, family.name} & live.keys()
        assert names, family
        labels = set(live[names.pop()].labels)
        key = SeriesKey(family.metric, PIPELINE, "some", "load" if "task" in labels else "")
        written = {part.split("=")[0] for part in labels_of(family, key, {}).split(",")}
        assert written == labels, family.name


def test_disabled_metric_is_not_exported() -> None:
    kept = exposed(FAMILIES, [counted_metrics.OUTCOMES, f"{CUSTOM_OBSERVED}_sum"])
    assert {family.name for family in FAMILIES} - {family.name for family in kept} == {
        "prefect_flow_run_outcomes_total",
        "flow_deployment_state:prefect_flow_run_outcomes:increase",
        "flow_deployment_state:prefect_flow_run_outcomes:last",
        "prefect_custom_metric_observed_sum",
        "flow_deployment_task_metric:prefect_custom_metric_observed_sum:increase",
        "flow_deployment_task_metric:prefect_custom_metric_observed_sum:last",
    }
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
    last_hour=st.integers(1, 60),
)
def test_sample_is_the_sum_of_all_earlier_outcomes(
    tmp_path_factory: Any, moves: list[tuple[int, int]], last_hour: int
) -> None:
    """For any days and any end."""
    folder = tmp_path_factory.mktemp("texts")
    written = [Move(MIDNIGHT + hour * HOUR, COMPLETED, amount, 1) for hour, amount in sorted(moves)]
    past = history({COMPLETED: written[0].slot - HOUR}, MIDNIGHT + last_hour * HOUR)
    files, samples = write_days(folder, past, written)
    series = samples_of(files)
    hours = len(range(past.first_slots[COMPLETED], past.end + 1, HOUR))
    assert samples == cost(past).samples == sum(map(len, series.values())) + (hours + 1 if hours else 0)
    for points in series.values():
        assert [at for at, _ in points] == list(range(past.first_slots[COMPLETED], past.end + 1, HOUR))
        for at, value in points:
            assert value == sum(move.amount for move in written if move.slot <= at)


@given(moves=st.lists(st.tuples(st.integers(1, 60), st.integers(1, 9), st.booleans()), min_size=1, max_size=40))
def test_increases_add_up_to_the_last_level(tmp_path_factory: Any, moves: list[tuple[int, int, bool]]) -> None:
    """Of what moved until the end, whatever the labels of the METRIC lines; what moves later, the live rules count."""
    folder = tmp_path_factory.mktemp("texts")
    other = ROWS._replace(labels=(("table", "customers"),))
    late = ROWS._replace(detail="late")
    written = [Move(MIDNIGHT + hour * HOUR, ROWS if first else other, amount, 1) for hour, amount, first in moves]
    written.sort(key=lambda move: move.slot)
    families = tuple(family for family in FAMILIES if family.metric == CUSTOM_OBSERVED and family.part != "level")
    later = ROWS._replace(detail="later")
    first = {**dict.fromkeys((ROWS, other), written[0].slot - HOUR), later: MIDNIGHT + 45 * HOUR}
    past = history(first, MIDNIGHT + 40 * HOUR, families=families, moves=written, unmoved=[late])
    files, samples = write_days(folder, past, written)
    assert samples <= cost(past).samples
    if not past.days:
        return
    name = "flow_deployment_task_metric:prefect_custom_metric_observed_sum"
    series = {(found, dict(labels)["metric"]): points for (found, labels), points in samples_of(files).items()}
    expected: dict[float, float] = {}
    for move in written:
        if move.slot <= past.end:
            expected[move.slot] = expected.get(move.slot, 0) + move.amount
    assert dict(series.get((f"{name}:increase", "rows"), [])) == expected
    lasts = dict(series[f"{name}:last", "rows"])
    assert lasts[past.end] == sum(expected.values())
    for slot in [*expected, *past.days[1:]]:
        assert lasts[slot] == sum(amount for at, amount in expected.items() if at <= slot)
    for metric in ("late", "later"):
        assert series[f"{name}:last", metric] == [(past.end, 0)], "its first value counts once it is scraped"
    for _, labels in samples_of(files):
        assert dict(labels).keys() == {"workspace", "flow", "deployment", "task", "metric"}


def test_files_say_where_increases_are_known_and_when_the_ledger_was_created(tmp_path: Path) -> None:
    past = history({COMPLETED: MIDNIGHT + 5 * HOUR}, MIDNIGHT + DAY + HOUR)
    written = {}
    for day in past.days:
        write_day(tmp_path / "day.om", past, day, {}, [])
        written[day] = (tmp_path / "day.om").read_text().splitlines()
    slots = range(MIDNIGHT + 5 * HOUR, past.end + 1, HOUR)
    known = [line for lines in written.values() for line in lines if line.startswith(UNCHANGED)]
    assert known == [f'{UNCHANGED}{{workspace="production"}} 1 {slot}' for slot in slots]
    labels = '{job="prefect-monitoring",workspace="production"}'
    created = [line for line in written[MIDNIGHT + DAY] if line.startswith(LEDGER_CREATED)]
    assert created == [f"{LEDGER_CREATED}{labels} 1.76450000025e+09 {past.end}"]
    assert not any(line.startswith(LEDGER_CREATED) for line in written[MIDNIGHT])


def test_series_that_begin_after_the_end_are_not_exported() -> None:
    assert list(history({COMPLETED: MIDNIGHT + 6 * HOUR}, MIDNIGHT + 5 * HOUR).days) == []
    assert list(history({COMPLETED: MIDNIGHT + 5 * HOUR}, MIDNIGHT + 5 * HOUR).days) == [MIDNIGHT]


def test_sums_and_counts_are_distinct(tmp_path: Path) -> None:
    past = history({DURATION: MIDNIGHT, ROWS: MIDNIGHT}, MIDNIGHT + HOUR)
    moves = [Move(MIDNIGHT + HOUR, DURATION, 12.5, 2), Move(MIDNIGHT + HOUR, ROWS, -4.0, 1)]
    size = write_day(tmp_path / "day.om", past, MIDNIGHT, {}, moves)
    assert size == Size(samples=11, series=6, bytes=(tmp_path / "day.om").stat().st_size)
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


def test_blocks_without_all_samples_or_with_other_series_are_incomplete(tmp_path: Path) -> None:
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
    assert are_whole(blocks, MIDNIGHT, Size(9, 3)), "one series has no sample in these blocks"
    assert not are_whole(blocks, MIDNIGHT, Size(9, 1))
    assert not are_whole([], MIDNIGHT, Size(9, 2))
    tomorrow = blocks_of_day(tmp_path, MIDNIGHT + DAY)
    assert not are_whole(tomorrow, MIDNIGHT, Size(7, 2)), "beyond its day"
    remove_blocks(blocks)
    assert blocks_of_day(tmp_path, MIDNIGHT) == []
