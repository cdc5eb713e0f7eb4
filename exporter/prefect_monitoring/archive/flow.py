"""The archive as a Prefect flow: a task per day, on work pools of your own.

Which runs are archived is read from the archive itself, so that tasks on several machines share only its address.
"""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from datetime import date
from typing import Final

from prefect import flow, get_run_logger, task
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.types.entrypoint import EntrypointType

from prefect_monitoring.archive.running import Past, archive_past, days_of, parse_instant
from prefect_monitoring.config.loading import load_settings

DEPLOYMENT: Final = "archive"


@task(task_run_name="archive-{day}")
def archive_day(to: str, day: date, since: float, until: float, max_requests_per_second: float) -> None:
    """Archives the runs that ended on `day` within [since, until], epoch seconds; a repeat skips what is archived."""
    flags = {"archive_to": to, "max_requests_per_second": f"{max_requests_per_second:g}"}
    settings = load_settings(flags, os.environ)
    asyncio.run(archive_past(settings, Past(since, until).on(day), get_run_logger().info))


@flow(name="prefect-monitoring-archive")
def archive_days(
    to: str, since: str = "2d", until: str = "", at_once: int = 2, retries: int = 3, retry_seconds: float = 60
) -> None:
    """Archives each day since `since`, `at_once` days at a time; a day that fails is retried on its own.

    `since` and `until` are durations or dates, as in `prefect-monitoring archive`. All other options come from
    variables of the worker's environment (docs/configuration.md).
    """
    now = time.time()
    past = Past(parse_instant(since, now), parse_instant(until, now) if until else now)
    settings = load_settings({"archive_to": to}, os.environ)
    day_task = archive_day.with_options(retries=retries, retry_delay_seconds=retry_seconds)
    common = {
        "to": to,
        "since": past.since,
        "until": past.until,
        "max_requests_per_second": settings.poll.max_requests_per_second / at_once,
    }
    with ThreadPoolTaskRunner[None](max_workers=at_once) as runner:
        days = [stretch.day for stretch in days_of(past, settings.archive.archive_settle)]
        futures = [runner.submit(day_task, {**common, "day": day}) for day in days]
        for future in futures:
            future.wait()
    for future in futures:
        future.result()


@dataclass(frozen=True, slots=True)
class Deployment:
    """`pool`: a work pool whose workers have prefect-monitoring[archive]. `cron` is in UTC, "" for no schedule."""

    to: str
    pool: str
    since: str
    cron: str
    image: str


def deploy(wanted: Deployment) -> str:
    """Creates or updates the deployment; returns its full name. Raises ValueError as Prefect does."""
    archive_days.deploy(
        name=DEPLOYMENT,
        work_pool_name=wanted.pool,
        image=wanted.image or None,
        cron=wanted.cron or None,
        parameters={"to": wanted.to, "since": wanted.since},
        entrypoint_type=EntrypointType.MODULE_PATH,
        build=False,
        push=False,
        print_next_steps=False,
        ignore_warnings=True,
    )
    return f"{archive_days.name}/{DEPLOYMENT}"
