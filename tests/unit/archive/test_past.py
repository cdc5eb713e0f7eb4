"""`archive --since … --until …`: archives the past by day, reports progress and resumes where it stopped."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from prefect_monitoring.archive import running
from prefect_monitoring.archive.archiver import Archiver
from prefect_monitoring.archive.running import Past, archive_past, compact_past, days_of, verify_past
from prefect_monitoring.config.settings import Settings
from prefect_monitoring.prefect_api.errors import ApiError
from support.options import settings_with
from unit.archive.fake_runs import NOON, FakeRuns
from unit.archive.site import Site

DAY = 86400.0


@pytest.fixture
def settings(archived: Site, fake_runs: FakeRuns, monkeypatch: pytest.MonkeyPatch) -> Settings:
    @asynccontextmanager
    async def open_fake(*_: Any) -> AsyncIterator[FakeRuns]:
        yield fake_runs

    monkeypatch.setattr(running, "open_http", open_fake)
    monkeypatch.setattr(running, "api_address", lambda: "http://prefect.test/api")
    return settings_with(archive_to=archived.folder.as_uri())


async def test_past_is_archived_oldest_day_first_and_each_day_is_reported(
    archived: Site, fake_runs: FakeRuns, settings: Settings
) -> None:
    for number in range(4):
        fake_runs.add(number, NOON - number * DAY)
    printed: list[str] = []
    await archive_past(settings, Past(NOON - 2.5 * DAY, NOON - DAY), printed.append)
    assert [line.rpartition(" in ")[0] for line in printed[:-1]] == [
        "2026-11-26 (1 of 2): 1 runs",
        "2026-11-27 (2 of 2): 1 runs",
    ]
    assert printed[-1].startswith("Archived 2 runs, 0 task runs and 0 log lines")
    assert [run for (run,) in archived.read("runs", "id")] == ["run-000001", "run-000002"]


async def test_past_until_a_date_excludes_that_date(fake_runs: FakeRuns, settings: Settings) -> None:
    fake_runs.add(1, NOON - DAY)
    printed: list[str] = []
    await archive_past(settings, Past(NOON - 1.5 * DAY, NOON - 0.5 * DAY), printed.append)
    assert [line.rpartition(" in ")[0] for line in printed[:-1]] == ["2026-11-27 (1 of 1): 1 runs"]


async def test_interrupted_past_resumes(
    archived: Site, fake_runs: FakeRuns, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        fake_runs.add(number, NOON - number * DAY)
    whole = Archiver.archive

    async def stops_at_noon(self: Archiver, stretch: Any, *arguments: Any) -> int:
        if stretch.before >= NOON - DAY:
            raise ApiError("down", "503")
        return await whole(self, stretch, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Archiver, "archive", stops_at_noon)
        with pytest.raises(ApiError):
            await archive_past(settings, Past(NOON - 2 * DAY, NOON), lambda _: None)
    assert len(archived.read("runs")) == 1
    printed: list[str] = []
    await archive_past(settings, Past(NOON - 2 * DAY, NOON), printed.append)
    assert printed[0].startswith("2026-11-26 (1 of 3): 0 runs")
    assert len(archived.read("runs")) == 3


async def test_past_leaves_out_runs_that_have_not_settled(
    fake_runs: FakeRuns, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running.time, "time", lambda: NOON)
    fake_runs.add(1, NOON - 30)
    printed: list[str] = []
    await archive_past(settings, Past(NOON - 60, NOON), printed.append)
    assert printed == ["Archived 0 runs, 0 task runs and 0 log lines: 0.0 MiB of Parquet, 0 requests to Prefect"]


async def test_compaction_of_the_past_skips_the_current_day(
    archived: Site, fake_runs: FakeRuns, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running.time, "time", lambda: NOON + DAY)
    for number in range(4):
        fake_runs.add(number, NOON + (number % 2) * DAY - 3600 - number)
        await archived.archive(NOON - DAY, NOON + DAY)
    printed: list[str] = []
    await compact_past(settings, Past(NOON - DAY, NOON + DAY), printed.append)
    assert printed == ["2026-11-27: 0 files became 0, 0.0 MiB", printed[1]]
    assert printed[1].startswith("2026-11-28: 2 files became 1")
    assert len(archived.files("runs")) == 3


async def test_verification_reports_each_day_and_the_overall_result(
    archived: Site, fake_runs: FakeRuns, settings: Settings
) -> None:
    fake_runs.add(1, NOON)
    await archived.archive(NOON, NOON)
    printed: list[str] = []
    assert await verify_past(settings, Past(NOON - 60, NOON), printed.append)
    assert printed == ["2026-11-28: ok (1 runs in Prefect, 1 files, 0 log lines read again)"]
    missing = fake_runs.add(2, NOON)
    assert not await verify_past(settings, Past(NOON - 60, NOON), printed.append)
    assert printed[1:] == [
        "2026-11-28: 1 FAULTS (2 runs in Prefect, 1 files, 0 log lines read again)",
        f"  flow run {missing} is not archived",
    ]


def test_past_is_split_into_days() -> None:
    past = Past(NOON, NOON + DAY)
    parts = [past.on(stretch.day) for stretch in days_of(past, 0)]
    assert [(part.since, round(part.until - part.since)) for part in parts] == [(NOON, 43200), (NOON + 43200, 43200)]
