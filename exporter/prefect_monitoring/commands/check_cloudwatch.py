"""The CloudWatch part of `check`: whether it accepts metrics, how many there will be, and what they cost."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Collection, Mapping
from importlib.util import find_spec
from typing import Final

from prefect_monitoring.commands.findings import Finding
from prefect_monitoring.config.settings import CloudWatchSettings, PollSettings, Settings
from prefect_monitoring.counting.filters import Filters
from prefect_monitoring.flows.aws import AWS_EXTRA, cause, make_client
from prefect_monitoring.model.cloudwatch import MAX_DATA
from prefect_monitoring.model.names import Names
from prefect_monitoring.model.pushed_metrics import DOLLARS_PER_METRIC, DOLLARS_PER_REQUEST, MINUTES_PER_MONTH
from prefect_monitoring.model.records import Pipeline
from prefect_monitoring.model.sink_status import SinkError
from prefect_monitoring.prefect_api.client import Traffic, open_http
from prefect_monitoring.prefect_api.errors import ApiError, NoApiUrlError
from prefect_monitoring.prefect_api.flow_runs import PrefectApi
from prefect_monitoring.sinks.aws_errors import reason_of
from prefect_monitoring.sinks.cloudwatch.select import Selection
from prefect_monitoring.sinks.threads import in_daemon_thread

ANSWER_SECONDS: Final = 30.0
_ADVICE: Final[Mapping[SinkError, str]] = {
    SinkError.CREDENTIALS: "AWS credentials are missing, not valid, or without the right cloudwatch:PutMetricData",
    SinkError.CONFIGURATION: "AWS's settings cannot be used",
    SinkError.UNREACHABLE: "AWS does not answer: check the region, the proxy and the network",
    SinkError.THROTTLED: "AWS is throttling this account: try again later",
}


async def check_cloudwatch(settings: Settings) -> list[Finding]:
    """No findings if it is switched off."""
    chosen = settings.cloudwatch
    if not chosen.cloudwatch_pipelines:
        return []
    if find_spec("boto3") is None:
        return [Finding(ok=False, text=f"cloudwatch: boto3 is not installed: {AWS_EXTRA}")]
    return [await _check_access(chosen), *await _costs(settings)]


async def _check_access(settings: CloudWatchSettings) -> Finding:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            text = await in_daemon_thread("cloudwatch", _access, settings.cloudwatch_namespace)
    except TimeoutError:
        return Finding(ok=False, text=f"cloudwatch: no answer within {ANSWER_SECONDS:g} s")
    except Exception as error:  # noqa: BLE001 any error of boto3, the network or AWS
        advice = _ADVICE.get(reason_of(error), "it cannot be reached")
        return Finding(ok=False, text=f"cloudwatch: {advice} ({cause(error)})")
    return Finding(ok=True, text=f"cloudwatch: {text}")


def _access(namespace: str) -> str:
    """Sends an empty request: AWS checks credentials and rights before it refuses it."""
    client = make_client("cloudwatch")
    try:
        client.put_metric_data(Namespace=namespace, MetricData=[])
    except Exception as error:
        if reason_of(error) is not SinkError.REFUSED:
            raise
    return f"{client.meta.region_name} accepts metrics into {namespace}"


async def _costs(settings: Settings) -> list[Finding]:
    try:
        pipelines = await _live_pipelines(settings.poll)
    except (ApiError, NoApiUrlError):  # reported already
        return []
    filters, selection = Filters(settings.filters), Selection(settings.cloudwatch)
    chosen = [pipeline for pipeline in pipelines if filters.allow_flow(pipeline.flow) and selection.has(pipeline)]
    if not chosen:
        return [Finding(ok=True, text="cloudwatch: cloudwatch_pipelines matches no pipeline", advice=True)]
    return [Finding(ok=True, text=f"cloudwatch: {costs_of(len(chosen), settings.cloudwatch)}")]


async def _live_pipelines(settings: PollSettings) -> Collection[Pipeline]:
    async with open_http(Traffic(), settings.max_requests_per_second) as http:
        api = PrefectApi(http)
        names = Names({}, {}, frozenset()).with_flows(await api.flows()).with_deployments(await api.deployments())
    return names.live_pipelines()


def costs_of(pipelines: int, settings: CloudWatchSettings) -> str:
    """How many metrics this many pipelines make at most, and what they cost."""
    each = min(len(settings.cloudwatch_metrics), settings.cloudwatch_max_metrics)
    if settings.cloudwatch_custom_metrics:
        each = settings.cloudwatch_max_metrics
    metrics = pipelines * each + 1
    requests = math.ceil(metrics / MAX_DATA) * MINUTES_PER_MONTH * DOLLARS_PER_REQUEST
    dollars = metrics * DOLLARS_PER_METRIC + requests
    return (
        f"{pipelines} pipeline{'' if pipelines == 1 else 's'} with {each} metrics each and PrefectUp are {metrics}"
        f" metrics, at most about ${dollars:,.2f} a month (${DOLLARS_PER_METRIC:.2f} a metric, requests"
        f" ${requests:.2f})"
    )
