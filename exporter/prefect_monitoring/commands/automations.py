"""`prefect-monitoring automations`: manages Prefect's own automations from the pipelines file."""

from __future__ import annotations

import sys
from typing import Final, TextIO

from prefect_monitoring.automations.native.compile import Compiled
from prefect_monitoring.automations.native.definition import Installation
from prefect_monitoring.automations.native.difference import Plan, plan
from prefect_monitoring.automations.native.text import export_yaml, plan_lines
from prefect_monitoring.automations.native.workspace import Desired, carry_out, desired_in, own_automations
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
from prefect_monitoring.prefect_api.address import api_address
from prefect_monitoring.prefect_api.automations import MANAGE_AUTOMATIONS, AutomationsApi
from prefect_monitoring.prefect_api.client import PrefectHttp, Traffic, open_http
from prefect_monitoring.prefect_api.errors import ApiError
from prefect_monitoring.prefect_api.flow_runs import PrefectApi

_WRITES: Final = frozenset({"apply", "destroy"})
_NOTHING: Final = Desired(Compiled((), (), ()), {})


async def automations(settings: Settings, choices: Choices, out: TextIO) -> int:
    """The exit code. Raises SettingsError and PipelinesError before any write, NoApiUrlError, and ApiError."""
    installation = Installation(installation_name(settings, "workspace"))
    writes = MANAGE_AUTOMATIONS if choices.step in _WRITES else frozenset[tuple[str, str]]()
    async with open_http(Traffic(), settings.poll.max_requests_per_second, writes) as http:
        api = AutomationsApi(http)
        desired = _NOTHING if choices.step == "destroy" else await _desired(settings, http, api)
        definitions = [installation.definition(rule) for rule in desired.compiled.rules]
        if choices.step == "export":
            print_lines(sys.stderr, (f"note: {note}" for note in desired.compiled.notes))
            out.write(export_yaml(map(installation.creation, definitions)))
            return 0
        difference = plan(definitions, await own_automations(api, installation))
        print_lines(
            out, [f"Installation {installation.name} at {api_address()}", *plan_lines(difference, desired.names)]
        )
        print_lines(out, (f"note: {note}" for note in desired.compiled.notes))
        if choices.step == "plan":
            return WOULD_CHANGE if choices.detailed_exitcode and not difference.is_empty else 0
        if not difference.is_empty:
            confirm(choices)
            await _carry_out(difference, api, installation, out)
    return 0


async def _desired(settings: Settings, http: PrefectHttp, api: AutomationsApi) -> Desired:
    file = declared_file(settings, "what to automate")
    desired = await desired_in(PrefectApi(http), api, file, Filters(settings.filters))
    if desired.compiled.faults:
        raise SettingsError("\n".join(f"{settings.policy.pipelines}: {fault}" for fault in desired.compiled.faults))
    return desired


async def _carry_out(difference: Plan, api: AutomationsApi, installation: Installation, out: TextIO) -> None:
    try:
        await carry_out(difference, api, installation, lambda line: print_lines(out, [line]))
    except ApiError as fault:
        raise ApiError(
            f"{fault}\nWhat is reported above was changed: run the command again for the rest", fault.code
        ) from None
