"""`prefect-monitoring cloudwatch`: manages alarms and a dashboard in CloudWatch from the pipelines file."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, Final, TextIO

from prefect_monitoring.commands.plans import (
    WOULD_CHANGE,
    Choices,
    confirm,
    declared_file,
    installation_name,
    print_lines,
)
from prefect_monitoring.config.settings import Settings, SettingsError
from prefect_monitoring.counting.filters import Filters
from prefect_monitoring.flows.aws import AWS_EXTRA
from prefect_monitoring.model.names import Names
from prefect_monitoring.model.records import Pipeline
from prefect_monitoring.policy.declared import declared_policies
from prefect_monitoring.policy.resolve import Policy
from prefect_monitoring.prefect_api.client import Traffic, open_http
from prefect_monitoring.prefect_api.flow_runs import PrefectApi
from prefect_monitoring.sinks.cloudwatch.native.account import Account, AccountError
from prefect_monitoring.sinks.cloudwatch.native.compile import Compiled, compile_rules
from prefect_monitoring.sinks.cloudwatch.native.definition import Installation
from prefect_monitoring.sinks.cloudwatch.native.difference import Plan, plan
from prefect_monitoring.sinks.cloudwatch.native.text import cost_line, plan_lines
from prefect_monitoring.sinks.cloudwatch.select import Selection

_NOTHING: Final = Compiled((), (), (), ())


async def cloudwatch(settings: Settings, choices: Choices, out: TextIO) -> int:
    """The exit code. Raises SettingsError, PipelinesError, NoApiUrlError, ApiError before any write; AccountError."""
    chosen = settings.cloudwatch
    name = installation_name(settings, "account and region")
    if find_spec("boto3") is None:
        raise SettingsError(f"CloudWatch needs boto3: {AWS_EXTRA}")
    installation = Installation(name, chosen.cloudwatch_namespace, chosen.cloudwatch_alarm_actions)
    compiled = _NOTHING if choices.step == "destroy" else await _compiled(settings)
    account = Account()
    difference = _difference(account, installation, compiled)
    account.refuse_strangers(installation, difference)
    heading = f"Installation {name} in {account.region}, namespace {installation.namespace}"
    print_lines(out, [heading, *plan_lines(difference, installation.dashboard_name)])
    print_lines(out, (f"note: {note}" for note in compiled.notes))
    if compiled.rules:
        print_lines(out, [f"note: {cost_line(len(compiled.rules))}"])
    if choices.step == "plan":
        return WOULD_CHANGE if choices.detailed_exitcode and not difference.is_empty else 0
    if not difference.is_empty:
        confirm(choices)
        _carry_out(difference, account, installation, out)
    return 0


def _difference(account: Account, installation: Installation, compiled: Compiled) -> Plan:
    dashboard: Mapping[str, Any] | None = None
    if compiled.charts:
        dashboard = installation.dashboard(compiled.charts, compiled.pipelines, account.region)
    alarms = [installation.alarm(rule) for rule in compiled.rules]
    return plan(alarms, account.alarms(installation), dashboard, account.dashboard(installation))


async def _compiled(settings: Settings) -> Compiled:
    selection = Selection(settings.cloudwatch)
    if not settings.cloudwatch.cloudwatch_pipelines:
        raise SettingsError("--cloudwatch-pipelines: name the pipelines that `serve` pushes (docs/cloudwatch.md)")
    policies = await _policies(settings)
    return compile_rules(
        {pipeline: policy for pipeline, policy in policies.items() if selection.has(pipeline)}, selection.metrics
    )


async def _policies(settings: Settings) -> Mapping[Pipeline, Policy]:
    """Raises ApiError."""
    file = declared_file(settings, "the objectives of pipelines")
    async with open_http(Traffic(), settings.poll.max_requests_per_second) as http:
        api = PrefectApi(http)
        names = Names({}, {}, frozenset()).with_flows(await api.flows()).with_deployments(await api.deployments())
    return declared_policies(file, names, Filters(settings.filters))


def _carry_out(difference: Plan, account: Account, installation: Installation, out: TextIO) -> None:
    try:
        account.carry_out(difference, installation, lambda line: print_lines(out, [line]))
    except AccountError as fault:
        raise AccountError(f"{fault}\nWhat is reported above was changed: run the command again for the rest") from None
