"""Following: settled runs are archived once; later changes, restarts and faults are handled from the archive alone."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Any

import pytest

from prefect_monitoring.archive.follower import Follower
from prefect_monitoring.archive.store import StoreError
from prefect_monitoring.config.settings import ArchiveSettings
from prefect_monitoring.prefect_api.errors import ApiError
from unit.archive.fake_runs import NOON, FakeRuns
from unit.archive.site import Site, status

HOUR = 3600.0
DAY = 24 * HOUR


@dataclass
class Clock:
    now: float = NOON

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def follower(archived: Site, clock: Clock, **options: Any) -> Follower:
    """The follower of a new process."""
    settings = ArchiveSettings(**options)
    return Follower(archived.archiver(**options), archived.store, settings, status(), clock)


async def test_run_is_archived_once_it_has_settled(archived: Site, fake_runs: FakeRuns, clock: Clock) -> None:
    following = follower(archived, clock)
    fake_runs.add(1, NOON - 599)
    assert await following.run_pass() == 0
    clock.now += 5
    assert await following.run_pass() == 1
    clock.now += 300
    assert await following.run_pass() == 0
    assert len(archived.read("runs")) == 1


async def test_idle_pass_makes_one_request(archived: Site, fake_runs: FakeRuns, clock: Clock) -> None:
    following = follower(archived, clock)
    await following.run_pass()
    clock.now += 300
    before, asked = archived.files(), len(fake_runs.asked)
    await following.run_pass()
    assert fake_runs.asked[asked:] == ["/flow_runs/filter"]
    assert archived.files() == before


async def test_end_written_late_is_found_by_the_overlap(archived: Site, fake_runs: FakeRuns, clock: Clock) -> None:
    following = follower(archived, clock)
    await following.run_pass()
    fake_runs.add(1, NOON - 1200)
    clock.now += 300
    assert await following.run_pass() == 1


async def test_later_change_is_found_by_the_recheck(archived: Site, fake_runs: FakeRuns, clock: Clock) -> None:
    following = follower(archived, clock)
    run_id = fake_runs.add(1, NOON - 2 * DAY, "FAILED")
    await following.run_pass()
    fake_runs.end_again(run_id, "COMPLETED", NOON + 60)
    for _ in range(3):
        clock.now += 2 * HOUR
        await following.run_pass()
    assert archived.view("select id, state_type from latest_runs") == [(run_id, "COMPLETED")]
    assert len(archived.read("runs")) == 2


async def test_follower_down_for_longer_than_the_lookback_resumes_where_it_stopped(
    archived: Site, fake_runs: FakeRuns, clock: Clock
) -> None:
    fake_runs.add(1, NOON - HOUR)
    await follower(archived, clock).run_pass()
    fake_runs.add(2, NOON + HOUR)
    clock.now += 30 * DAY
    following = follower(archived, clock)
    assert await following.run_pass() == 1
    assert following.status.complete_until == clock.now - 600


async def test_first_start_archives_the_lookback(archived: Site, fake_runs: FakeRuns, clock: Clock) -> None:
    fake_runs.add(1, NOON - 8 * DAY)
    fake_runs.add(2, NOON - 6 * DAY)
    assert await follower(archived, clock).run_pass() == 1
    assert [run for (run,) in archived.read("runs", "id")] == ["run-000002"]


@pytest.mark.parametrize(("fault", "reason"), [(ApiError("down", "503"), "api"), (StoreError("full"), "store")])
async def test_api_fault_is_counted_logged_once_and_caught_up(
    archived: Site,
    fake_runs: FakeRuns,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
    fault: Exception,
    reason: str,
) -> None:
    caplog.set_level(logging.INFO)
    following = follower(archived, clock)
    assert await following.try_pass()
    begun = following.status.complete_until

    def broken(_: str) -> None:
        raise fault

    fake_runs.fault = broken
    fake_runs.add(1, NOON + 10)
    for _ in range(3):
        clock.now += HOUR
        assert not await following.try_pass()
    assert (following.status.complete_until, following.status.up) == (begun, False)
    assert following.status.failures[reason] == 3
    assert caplog.text.count(f"Not archived: {fault}") == 1
    fake_runs.fault = lambda _: None
    assert await following.try_pass()
    assert len(archived.read("runs")) == 1
    assert following.status.complete_until == clock.now - 600


async def test_days_before_a_fault_are_complete(archived: Site, fake_runs: FakeRuns, clock: Clock) -> None:
    following = follower(archived, clock, archive_lookback="3d")
    fake_runs.add(1, NOON - 2 * DAY)
    bad = fake_runs.add(2, NOON - DAY)

    def broken(endpoint: str) -> None:
        if endpoint == "/logs/filter" and archived.files("runs"):
            raise ApiError("down", "503")

    fake_runs.fault = broken
    assert not await following.try_pass()
    assert following.status.complete_until is not None
    assert NOON - 2 * DAY < following.status.complete_until < NOON - DAY, bad


async def test_unreadable_run_does_not_block_others(
    archived: Site, fake_runs: FakeRuns, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    following = follower(archived, clock)
    bad, good = fake_runs.add(1, NOON - DAY, created="yesterday"), fake_runs.add(2, NOON - DAY)
    fake_runs.log(bad, NOON - DAY, "line")
    assert await following.run_pass() == 1
    assert f"Set aside: flow run {bad} (ValueError" in caplog.text
    assert following.status.set_aside == {bad}
    assert archived.view("select id from latest_runs") == [(good,)]
    assert archived.view("select * from latest_logs") == []
    fake_runs.runs[bad]["created"] = fake_runs.runs[good]["created"]
    clock.now += DAY
    assert await following.run_pass() == 1
    assert following.status.set_aside == set()


async def test_damaged_cursor_file_is_ignored(archived: Site, fake_runs: FakeRuns, clock: Clock) -> None:
    archived.store.put("_following.json", b"{}")
    fake_runs.add(1, NOON - DAY)
    assert await follower(archived, clock).run_pass() == 1


async def test_follower_stops_at_once_in_the_middle_of_a_pass(
    archived: Site, fake_runs: FakeRuns, clock: Clock
) -> None:
    stop = asyncio.Event()
    fake_runs.add(1, NOON - DAY)
    whole = fake_runs.request

    async def hangs(endpoint: str, **options: Any) -> Any:
        if endpoint == "/logs/filter":
            stop.set()
            await asyncio.sleep(3600)
        return await whole(endpoint, **options)

    fake_runs.request = hangs  # type: ignore[method-assign]
    await asyncio.wait_for(follower(archived, clock).run(stop), 30)
    assert archived.files("runs") == []
