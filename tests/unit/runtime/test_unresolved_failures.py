"""Which failed runs are unresolved, run by run: parallel runs, retries, later runs, deletion, age, crashes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from support.options import settings_with
from unit.fake_prefect import FakePrefect
from unit.poller_process import PIPELINE, Process
from unit.rig import MakeReaders, OpenLedger

HOUR = 3600.0
Start = Callable[[], str]


@pytest.fixture
async def process(fake: FakePrefect, make_readers: MakeReaders, place: tuple[str, str]) -> Process:
    """A process that has loaded its baseline of one completed run."""
    fake.start(run := fake.schedule(*place))
    fake.finish(run, 10)
    process = Process(fake, make_readers(), settings_with(birth_hold="0s"))
    await process.poll()
    await process.inventory()
    await process.poll()
    return process


@pytest.fixture
def start(fake: FakePrefect, place: tuple[str, str]) -> Start:
    def started() -> str:
        fake.start(run := fake.schedule(*place))
        return run

    return started


def unresolved(process: Process) -> int:
    return process.last.run_stats[PIPELINE].unresolved


async def test_failure_beside_a_parallel_run_that_completes_stays_unresolved(
    fake: FakePrefect, process: Process, start: Start
) -> None:
    failing, parallel = start(), start()
    fake.finish(failing, 60, "FAILED", "customer A is gone")
    failed_at = fake.now
    fake.finish(parallel, 5)
    stats = (await process.poll()).run_stats[PIPELINE]
    assert (stats.consecutive_failures, stats.unresolved, stats.unresolved_since) == (0, 1, failed_at)
    assert stats.last_failure is not None
    assert stats.last_failure.run_id == failing, "links lead to the run that failed"
    await process.poll(2 * HOUR)
    assert unresolved(process) == 1, "the parallel run started before, so it resolves nothing"


async def test_each_of_several_failures_counts(fake: FakePrefect, process: Process, start: Start) -> None:
    runs = [start() for _ in range(4)]
    for run, state in zip(runs, ("FAILED", "COMPLETED", "CRASHED", "CANCELLED"), strict=True):
        fake.finish(run, 5, state)
    stats = (await process.poll()).run_stats[PIPELINE]
    assert stats.unresolved == 2
    assert stats.last_failure is not None
    assert stats.last_failure.run_id == runs[2]


async def test_later_completed_run_resolves_a_failure_shown_for_five_minutes(
    fake: FakePrefect, process: Process, start: Start
) -> None:
    fake.finish(start(), 5, "FAILED")
    later = start()
    fake.finish(later, 5)
    shown = []
    for _ in range(6):
        await process.poll(60)
        shown.append(unresolved(process))
    assert shown == [1, 1, 1, 1, 1, 0]


async def test_later_run_that_runs_or_fails_resolves_nothing(fake: FakePrefect, process: Process, start: Start) -> None:
    fake.finish(start(), 5, "FAILED")
    start()
    fake.finish(start(), 5, "CANCELLED")
    await process.poll()
    await process.poll(HOUR)
    assert unresolved(process) == 1


async def test_retry_resolves_a_failure_at_once_and_a_second_failure_counts(
    fake: FakePrefect, process: Process, start: Start
) -> None:
    run = start()
    fake.finish(run, 5, "FAILED")
    await process.poll()
    assert unresolved(process) == 1
    fake.retry(run)
    await process.poll()
    assert unresolved(process) == 0
    fake.start(run, 5)
    fake.finish(run, 5, "FAILED")
    fake.finish(start(), 5)
    await process.poll(290)
    assert unresolved(process) == 1, "held for five minutes of its own failure"


async def test_run_that_prefect_will_retry_is_not_unresolved(fake: FakePrefect, process: Process, start: Start) -> None:
    run = start()
    fake.set_state(run, "SCHEDULED", "AwaitingRetry")
    await process.poll()
    assert unresolved(process) == 0


async def test_deleted_run_is_resolved(fake: FakePrefect, process: Process, start: Start) -> None:
    run = start()
    fake.finish(run, 5, "FAILED")
    await process.poll()
    fake.delete_run(run)
    fake.now += HOUR
    await process.poll()
    await process.inventory()
    await process.poll()
    stats = process.last.run_stats[PIPELINE]
    assert (stats.unresolved, stats.consecutive_failures) == (0, 1)


async def test_old_failure_is_resolved(fake: FakePrefect, process: Process, start: Start) -> None:
    fake.finish(start(), 5, "FAILED")
    await process.poll()
    await process.poll(4 * HOUR - 60)
    assert unresolved(process) == 1
    await process.poll(60)
    assert unresolved(process) == 0


async def test_failures_of_the_baseline_are_not_held(
    fake: FakePrefect, make_readers: MakeReaders, start: Start
) -> None:
    fake.finish(start(), 5, "FAILED")
    fake.finish(start(), 5)
    fake.finish(parallel := start(), 5, "FAILED")
    process = Process(fake, make_readers(), settings_with(birth_hold="0s"))
    await process.poll()
    await process.inventory()
    await process.poll()
    stats = process.last.run_stats[PIPELINE]
    assert (stats.unresolved, stats.last_failure and stats.last_failure.run_id) == (1, parallel)


async def test_hold_restarts_after_a_restart_unless_it_was_over(
    fake: FakePrefect, process: Process, start: Start, make_readers: MakeReaders, open_it: OpenLedger
) -> None:
    fake.finish(start(), 5, "FAILED")
    fake.finish(start(), 5)
    await process.poll()
    process.readers.flow_runs.close()
    fake.now += 2 * HOUR  # no scrape meanwhile
    after = Process(fake, make_readers(open_it()), process.settings)
    for expected in (1, 0):
        await after.poll()
        assert unresolved(after) == expected
        await after.poll(300)
    after.readers.flow_runs.close()
    again = Process(fake, make_readers(open_it()), process.settings)
    await again.poll()
    assert unresolved(again) == 0


async def test_five_pipelines_failing_for_one_cause_are_a_storm_until_retried(
    fake: FakePrefect, process: Process
) -> None:
    flow = fake.add_flow("loads")
    deployments = [fake.add_deployment(f"d{number}", flow) for number in range(5)]
    await process.inventory()
    runs = [fake.schedule(flow, deployment) for deployment in deployments]
    for run in runs[:4]:
        fake.start(run)
        fake.finish(run, 5, "FAILED", "connection refused")
    assert (await process.poll()).storms == ()
    fake.start(runs[4])
    fake.finish(runs[4], 5, "FAILED", "connection refused")
    storm = (await process.poll()).storms
    assert {(failure.pipeline.deployment, failure.cause) for failure in storm} == {
        (f"d{number}", "connection") for number in range(5)
    }
    fake.retry(runs[0])
    assert (await process.poll()).storms == ()
