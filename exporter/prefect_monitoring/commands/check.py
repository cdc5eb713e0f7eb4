"""`prefect-monitoring check`: checks what `serve` needs, and reports every fault at once, with its fix."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from prefect_monitoring.commands.check_cloudwatch import check_cloudwatch
from prefect_monitoring.commands.findings import Finding
from prefect_monitoring.commands.listening import ListenError, bind
from prefect_monitoring.config.custom_metrics import CustomMetric
from prefect_monitoring.config.settings import (
    LabelSettings,
    LedgerSettings,
    MetricSettings,
    PollSettings,
    Settings,
    WebSettings,
)
from prefect_monitoring.ingest.sources import SOURCES
from prefect_monitoring.ledger.errors import LedgerError, LedgerInUseError
from prefect_monitoring.ledger.opening import inspect_ledger
from prefect_monitoring.ledger.sqlite import sqlite_path
from prefect_monitoring.metrics import metrics_of
from prefect_monitoring.model.names import Names
from prefect_monitoring.model.records import Pipeline
from prefect_monitoring.policy.lint import coverage, idle_entries, idle_rules, unmeasurable, with_objective
from prefect_monitoring.policy.pipelines_file import PipelinesError, PipelinesFile, parse_pipelines, read_pipelines
from prefect_monitoring.prefect_api.address import api_address
from prefect_monitoring.prefect_api.capabilities import too_old
from prefect_monitoring.prefect_api.client import Traffic, open_http
from prefect_monitoring.prefect_api.errors import ApiError, ClientSettingsError, NoApiUrlError
from prefect_monitoring.prefect_api.flow_runs import PrefectApi
from prefect_monitoring.prefect_api.inventory import InventoryApi
from prefect_monitoring.prefect_api.unreadable import collected_in
from prefect_monitoring.report.sender import checked_schedule
from prefect_monitoring.web.auth import IN_CLEAR, accepted_credentials, travel_in_clear
from prefect_monitoring.web.status_page.formatting import counted
from prefect_monitoring.web.tls import TlsError, check_pair

_IN_USE: Final = "ledger: in use by a running prefect-monitoring"


async def check(settings: Settings) -> list[Finding]:
    """One finding for each check."""
    metrics_of(settings.metrics)
    checked_schedule(settings.report)
    valid = Finding(ok=True, text="settings: valid")
    ledger = await asyncio.to_thread(_check_ledger, settings.ledger, settings.metrics.custom_metrics)
    findings = [
        valid,
        *_check_endpoints(settings.web),
        *_check_listen(settings.web, is_served=ledger.text == _IN_USE),
        *await _check_api(settings.poll, settings.metrics),
        ledger,
        *await check_cloudwatch(settings),
    ]
    pipelines = settings.policy.pipelines
    return findings + (await _check_pipelines(Path(pipelines), settings.poll, settings.labels) if pipelines else [])


async def check_without_settings() -> list[Finding]:
    """The checks that are possible while the settings are wrong."""
    return await _check_api(PollSettings(), MetricSettings())


def _check_endpoints(settings: WebSettings) -> list[Finding]:
    """No finding for endpoints that everybody may read over plain http."""
    try:
        check_pair(settings)
    except TlsError as fault:
        return [Finding(ok=False, text=f"endpoints: {fault}")]
    schemes = " or ".join(accepted_credentials(settings))
    if not schemes and not settings.tls_cert:
        return []
    scheme = "https" if settings.tls_cert else "http"
    readers = f"{schemes} credentials are asked for" if schemes else "everybody may read them"
    advice = f". {IN_CLEAR}" if travel_in_clear(settings) else ""
    return [Finding(ok=True, text=f"endpoints: {scheme}, {readers}{advice}")]


async def _check_api(settings: PollSettings, metrics: MetricSettings) -> list[Finding]:
    """Checks the sources that the exposed metrics need."""
    try:
        address = api_address()
    except NoApiUrlError as fault:
        return [Finding(ok=False, text=f"Prefect API: {fault}")]
    try:
        async with open_http(Traffic(), settings.max_requests_per_second) as http:
            api = PrefectApi(http)
            probes = [probe for entry in SOURCES if entry.is_wanted(metrics) for probe in entry.probes]
            # At the same time: an API that does not answer is waited for only once.
            faults = await asyncio.gather(*(_fault(probe.read(api), settings.source_timeout) for probe in probes))
            version = "" if all(faults) else await _version(api, settings.source_timeout)
    except ClientSettingsError as fault:
        return [Finding(ok=False, text=f"Prefect API: {fault}")]
    if all(faults):
        return [Finding(ok=False, text=f"Prefect API: {_common_fault(address, faults)}")]
    findings = [Finding(ok=False, text=f"Prefect API: {warning} ({address})")] if (warning := too_old(version)) else []
    reasons: dict[str, list[str]] = {}
    for probe, problem in zip(probes, faults, strict=True):
        if problem is not None:
            reasons.setdefault(str(problem), []).append(probe.what)
    if not reasons:
        readable = ", ".join(probe.what for probe in probes)
        return [*findings, Finding(ok=True, text=f"Prefect API: {address} answers and allows reading {readable}")]
    return [
        *findings,
        *(
            Finding(ok=False, text=f"Prefect API: {reason} ({address}: cannot read {', '.join(unreadable)})")
            for reason, unreadable in reasons.items()
        ),
    ]


async def _version(api: PrefectApi, timeout: float) -> str:  # noqa: ASYNC109 the same as for the probes
    with suppress(ApiError, TimeoutError):
        async with asyncio.timeout(timeout):
            return await api.version()
    return ""


def _common_fault(address: str, faults: Sequence[ApiError | None]) -> str:
    """The common cause, and the remedy; no endpoint works, so none is listed."""
    codes = Counter(fault.code for fault in faults if fault is not None)
    code, _ = codes.most_common(1)[0]
    if code in {"404", "405"} and not address.endswith("/api") and "/accounts/" not in address:
        return f"PREFECT_API_URL does not end in /api: give {address}/api ({address} answered {code})"
    if code in {"404", "405", "invalid_json"}:
        return f"another product than Prefect answers at {address}: correct PREFECT_API_URL"
    reason = next(str(fault) for fault in faults if fault is not None and fault.code == code)
    return f"{reason} ({address})"


async def _check_pipelines(path: Path, settings: PollSettings, labels: LabelSettings) -> list[Finding]:
    try:
        file = parse_pipelines(read_pipelines(path), str(path), labels.known_causes)
    except PipelinesError as fault:
        return [Finding(ok=False, text=f"pipelines: {line}") for line in str(fault).splitlines()]
    entries = counted(len(file.pipelines), "entry", "entries")
    valid = Finding(ok=True, text=f"pipelines: {path} is valid, with {entries}")
    try:
        async with open_http(Traffic(), settings.max_requests_per_second) as http:
            with collected_in({}):
                return [valid, *await _lint(file, PrefectApi(http), time.time())]
    except (ApiError, NoApiUrlError):  # reported already
        return [valid]


async def _lint(file: PipelinesFile, api: PrefectApi, now: float) -> list[Finding]:
    """What the action rules cover, and advice on the file, given what exists and how often it ran."""
    names = Names({}, {}, frozenset()).with_flows(await api.flows()).with_deployments(await api.deployments())
    ids: dict[Pipeline, tuple[str, str | None]] = {
        Pipeline(flow.name, ""): (flow.id, None) for flow in names.live_flows()
    }
    ids |= {pipeline: (deployment.flow_id, deployment.id) for pipeline, deployment in names.live_deployments()}
    runs = {
        pipeline: await api.good_and_bad_runs(*ids[pipeline], now - policy.window, now)
        for pipeline, policy in sorted(with_objective(file, ids).items())
    }
    pools = {pool.name: pool.slots for pool in await InventoryApi(api.paginator).work_pools()}
    pipelines = names.live_pipelines()
    advice = [*idle_entries(file, pipelines), *unmeasurable(file, runs), *idle_rules(file, pipelines, pools)]
    return [
        *(Finding(ok=True, text=f"pipelines: {text}") for text in coverage(file, pipelines)),
        *(Finding(ok=True, text=f"pipelines: {text}", advice=True) for text in advice),
    ]


async def _fault(reading: Awaitable[object], timeout: float) -> ApiError | None:  # noqa: ASYNC109 the message names it
    try:
        with collected_in({}):  # a record that cannot be read is set aside by `serve`
            async with asyncio.timeout(timeout):
                await reading
    except ApiError as fault:
        return fault
    except TimeoutError:
        return ApiError(f"no answer within {timeout:g} s", "timeout")
    return None


def _check_listen(settings: WebSettings, *, is_served: bool) -> list[Finding]:
    """`is_served`: a running prefect-monitoring has this ledger, and probably the address."""
    try:
        bind(settings.listen).close()
    except ListenError as fault:
        return [] if is_served else [Finding(ok=False, text=f"listen: {fault}")]
    return []


def _check_ledger(settings: LedgerSettings, declared: Sequence[CustomMetric]) -> Finding:
    existing, url = Path(), settings.ledger_url.get_secret_value()
    try:
        path = sqlite_path(url)
        if not path.exists():
            existing = next(folder for folder in path.absolute().parents if folder.exists())
            with tempfile.TemporaryFile(dir=existing):
                return Finding(ok=True, text=f"ledger: {path} will be created by the first start")
        if not os.access(path, os.W_OK):
            raise LedgerError(f"{path} cannot be written: give the user that runs prefect-monitoring the right to")
        inspect_ledger(url, api_address(), settings.moved_from, declared)
    except NoApiUrlError:
        return Finding(
            ok=True, text=f"ledger: {path} exists; which API it belongs to is checked once the address is known"
        )
    except LedgerInUseError:
        return Finding(ok=True, text=_IN_USE)
    except LedgerError as fault:
        return Finding(ok=False, text=f"ledger: {fault}")
    except OSError as fault:
        return Finding(
            ok=False, text=f"ledger: {existing} cannot be written ({fault.strerror}): set ledger_url elsewhere"
        )
    return Finding(ok=True, text=f"ledger: {path} can be written")
