"""Opens the sinks that the settings switch on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import find_spec

from prefect_monitoring.config.settings import Settings, SettingsError
from prefect_monitoring.flows.aws import AWS_EXTRA
from prefect_monitoring.ingest.flow_runs import Reader
from prefect_monitoring.sinks.cloudwatch.select import Selection
from prefect_monitoring.sinks.cloudwatch.sink import CloudWatchSink


def check_sinks(settings: Settings) -> None:
    """Raises SettingsError if a sink is switched on and a package that it needs is not installed."""
    if settings.cloudwatch.cloudwatch_pipelines and find_spec("boto3") is None:
        raise SettingsError(f"cloudwatch_pipelines: CloudWatch needs boto3: {AWS_EXTRA}")


@asynccontextmanager
async def open_sinks(settings: Settings, reader: Reader) -> AsyncIterator[list[CloudWatchSink]]:
    """The sinks, which run until the context ends. Raises LedgerError."""
    if not settings.cloudwatch.cloudwatch_pipelines:
        yield []
        return
    sink = CloudWatchSink(reader, Selection(settings.cloudwatch), settings.policy.installation)
    await sink.begin()
    task = asyncio.create_task(sink.run(), name="push to CloudWatch")
    try:
        yield [sink]
    finally:
        await sink.stop(task)
