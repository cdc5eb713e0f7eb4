"""Objectives around functions and blocks: what they report, and that they never fail the flow."""

from __future__ import annotations

import asyncio
import inspect
import logging
import sys
import threading
import time

import pytest
from prefect import flow

from prefect_monitoring.flows import record_rows, slo

slo_module = sys.modules["prefect_monitoring.flows.slo"]
LOGGER = "prefect_monitoring.flows"


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, LOGGER)
    return caplog


def test_slo_that_is_met_reports_nothing(lines: pytest.LogCaptureFixture) -> None:
    @slo(max_duration="1h", max_rows=10)
    def load(rows: int) -> int:
        record_rows(rows)
        return rows

    assert load(10) == 10
    assert not lines.messages


def test_slo_with_too_many_rows_reports_a_metric_line(lines: pytest.LogCaptureFixture) -> None:
    @slo(max_rows=10)
    def load() -> str:
        record_rows(6)
        record_rows(5)
        return "done"

    assert load() == "done"
    assert lines.messages == [
        "load missed its objective: touched 11 rows, at most 10 are allowed",
        'METRIC: slo_violations{objective="max_rows"}=1',
    ]


def test_slo_that_took_too_long_reports_it_and_keeps_the_error(lines: pytest.LogCaptureFixture) -> None:
    @slo(max_duration=1e-9)
    def load() -> None:
        raise KeyError("orders")

    with pytest.raises(KeyError, match="orders"):
        load()
    assert 'METRIC: slo_violations{objective="max_duration"}=1' in lines.messages


def test_slo_with_two_violations_sends_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    monkeypatch.setattr(slo_module, "notify_slack", lambda block, text: sent.append(text))
    with slo(max_duration=1e-9, max_rows=1, slack="alerts", name="copy <all>"):
        record_rows(2)
    assert sent == [
        "*copy &lt;all&gt;* missed its objective: took 0.0 s, at most 0.0 s is allowed; touched 2 rows, at most 1 are"
        " allowed"
    ]


def test_slo_around_a_coroutine_function_measures_until_its_end(lines: pytest.LogCaptureFixture) -> None:
    @slo(max_duration=1e-3)
    async def load() -> int:
        await asyncio.sleep(0.01)
        return 7

    assert inspect.iscoroutinefunction(load)
    assert asyncio.run(load()) == 7
    assert len(lines.messages) == 2


def test_slo_as_a_block_counts_rows_of_threads_that_share_its_context(lines: pytest.LogCaptureFixture) -> None:
    with slo(max_rows=3_999, name="copy") as measured:
        threads = [threading.Thread(target=lambda: [measured.add_rows(1) for _ in range(1000)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert measured.rows == 4_000
    assert lines.messages[0].startswith("copy missed its objective: touched 4,000 rows")


def test_slo_within_another_counts_rows_for_the_inner_one(lines: pytest.LogCaptureFixture) -> None:
    with slo(max_rows=1, name="outer") as outer:
        with slo(max_rows=100, name="inner") as inner:
            record_rows(5)
        record_rows(1)
    assert (outer.rows, inner.rows) == (1, 5)
    assert not lines.messages


def test_record_rows_without_an_objective_does_nothing(lines: pytest.LogCaptureFixture) -> None:
    record_rows(5)
    assert not lines.messages


@pytest.mark.parametrize("options", [{}, {"max_duration": "soon"}, {"max_rows": 0}, {"max_duration": -1.0}])
def test_slo_with_impossible_limits_is_refused_where_it_is_declared(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"slo|duration"):
        slo(**options)  # type: ignore[arg-type]


def test_slo_around_a_generator_is_refused() -> None:
    with pytest.raises(TypeError, match="with slo"):

        @slo(max_rows=1)
        def rows():
            yield 1


def test_slo_keeps_name_and_signature_for_prefect() -> None:
    @slo(max_rows=1)
    def load(table: str, limit: int = 5) -> None:
        """Loads."""

    assert load.__name__ == "load"
    assert list(inspect.signature(load).parameters) == ["table", "limit"]


def test_slo_measures_each_call_alone(lines: pytest.LogCaptureFixture) -> None:
    @slo(max_duration=0.2)
    def wait(seconds: float) -> None:
        time.sleep(seconds)

    wait(0.25)
    wait(0)
    assert sum("METRIC" in message for message in lines.messages) == 1


def test_slo_above_a_flow_or_task_is_refused() -> None:
    with pytest.raises(TypeError, match="goes below @flow"):

        @slo(max_rows=1)
        @flow
        def load() -> None: ...


def test_slo_shared_by_threads_measures_each_block_alone() -> None:
    shared = slo(max_rows=1_000)
    both_inside = threading.Barrier(2)
    rows: dict[str, float] = {}

    def load(name: str, count: int) -> None:
        with shared as measured:
            both_inside.wait(30)
            record_rows(count)
            both_inside.wait(30)
        rows[name] = measured.rows

    threads = [threading.Thread(target=load, args=arguments) for arguments in (("a", 3), ("b", 5))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert rows == {"a": 3, "b": 5}
