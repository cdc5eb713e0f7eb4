"""Verification names damaged, missing and unarchived data; runs deleted in Prefect are no fault."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from prefect_monitoring.archive.archiver import Stretch
from prefect_monitoring.archive.manifest import day_bounds, day_of
from prefect_monitoring.archive.verification import verify
from unit.archive.fake_runs import NOON
from unit.archive.killed_process import LINES, the_fake
from unit.archive.site import Site

RUNS = 4
WHOLE_DAY = Stretch(day_of(NOON), *day_bounds(day_of(NOON)))


@pytest.fixture
async def whole(archived: Site) -> Site:
    site = Site(archived.folder, the_fake(RUNS))
    await site.archive(NOON, NOON + 3600)
    return site


async def faults(site: Site) -> list[str]:
    return (await verify(site.store, site.api, WHOLE_DAY)).faults


async def test_intact_archive_has_no_fault(whole: Site) -> None:
    result = await verify(whole.store, whole.api, WHOLE_DAY)
    assert (result.faults, result.runs, result.files, result.lines) == ([], RUNS, 3, RUNS * LINES)


async def test_run_deleted_in_prefect_is_no_fault(whole: Site) -> None:
    del whole.fake.runs["run-000001"]
    whole.fake.lines = whole.fake.lines[:-1]
    whole.fake.tasks = whole.fake.tasks[:-1]
    assert await faults(whole) == []


def flip_a_byte(site: Site) -> str:
    (key,) = site.files("logs")
    content = bytearray((site.folder / key).read_bytes())
    content[len(content) // 2] ^= 1
    (site.folder / key).write_bytes(content)
    return f"{key}: its content is not what was written (SHA-256)"


def lose_a_file(site: Site) -> str:
    (key,) = site.files("task_runs")
    (site.folder / key).unlink()
    return f"{key} is missing"


def more_runs(site: Site) -> str:
    return f"flow run {site.fake.add(99, NOON)} is not archived"


def another_state(site: Site) -> str:
    site.fake.end_again("run-000002", "FAILED", NOON + 7200)
    return "flow run run-000002 is not archived"


def more_task_runs(site: Site) -> str:
    site.fake.add_task("run-000002", "late", NOON)
    return "flow run run-000002: 1 of 2 task runs are not archived"


def more_lines(site: Site) -> str:
    site.fake.log("run-000002", NOON, "late")
    return "flow run run-000002: 1 of 4 log lines are not archived"


@pytest.mark.parametrize(
    "harm",
    [flip_a_byte, lose_a_file, more_runs, another_state, more_task_runs, more_lines],
    ids=lambda damage: damage.__name__,
)
async def test_damage_is_reported_by_name(whole: Site, harm: Callable[[Site], str]) -> None:
    fault = harm(whole)
    assert fault in await faults(whole)
