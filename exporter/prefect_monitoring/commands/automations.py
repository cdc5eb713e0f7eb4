"""`prefect-monitoring automations`: Prefect's own automations, kept as the pipelines file declares them."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

from prefect_monitoring.automations.native.compile import Compiled
from prefect_monitoring.automations.native.definition import Installation
from prefect_monitoring.automations.native.difference import Plan, plan
from prefect_monitoring.automations.native.text import export_yaml, plan_lines
from prefect_monitoring.automations.native.workspace import Desired, carry_out, desired_in, own_automations
from prefect_monitoring.config.settings import Settings, SettingsError
from prefect_monitoring.counting.filters import Filters
from prefect_monitoring.policy.pipelines_file import parse_pipelines, read_pipelines
from prefect_monitoring.prefect_api.address import api_address
from prefect_monitoring.prefect_api.automations import MANAGE_AUTOMATIONS, AutomationsApi
from prefect_monitoring.prefect_api.client import PrefectHttp, Traffic, open_http
from prefect_monitoring.prefect_api.errors import ApiError
from prefect_monitoring.prefect_api.flow_runs import PrefectApi

WOULD_CHANGE: Final = 2  # as `terraform plan -detailed-exitcode`
_WRITES: Final = frozenset({"apply", "destroy"})
_NOTHING: Final = Desired(Compiled((), (), ()), {})


@dataclass(frozen=True, slots=True)
class Choices:
    """`step` is plan, apply, destroy or export."""

    step: str
    yes: bool = False
    detailed_exitcode: bool = False


async def automations(settings: Settings, choices: Choices, out: TextIO) -> int:
    """The exit code. Raises SettingsError and PipelinesError before any write, NoApiUrlError, and ApiError."""
    if not settings.policy.installation:
        raise SettingsError(
            "--installation: give this installation a name, such as prod; two installations in one workspace need two,"
            " because each destroys what bears its name and is declared no more"
        )
    installation = Installation(settings.policy.installation)
    writes = MANAGE_AUTOMATIONS if choices.step in _WRITES else frozenset[tuple[str, str]]()
    async with open_http(Traffic(), settings.poll.max_requests_per_second, writes) as http:
        api = AutomationsApi(http)
        desired = _NOTHING if choices.step == "destroy" else await _desired(settings, http, api)
        definitions = [installation.definition(rule) for rule in desired.compiled.rules]
        if choices.step == "export":
            _print(sys.stderr, (f"note: {note}" for note in desired.compiled.notes))
            out.write(export_yaml(map(installation.creation, definitions)))
            return 0
        difference = plan(definitions, await own_automations(api, installation))
        _print(out, [f"Installation {installation.name} at {api_address()}", *plan_lines(difference, desired.names)])
        _print(out, (f"note: {note}" for note in desired.compiled.notes))
        if choices.step == "plan":
            return WOULD_CHANGE if choices.detailed_exitcode and not difference.is_empty else 0
        if not difference.is_empty:
            _confirm(choices)
            await _carry_out(difference, api, installation, out)
    return 0


async def _desired(settings: Settings, http: PrefectHttp, api: AutomationsApi) -> Desired:
    if not settings.policy.pipelines:
        raise SettingsError("--pipelines: name the file that declares what to automate (docs/pipelines.md)")
    path = Path(settings.policy.pipelines)
    file = parse_pipelines(read_pipelines(path), str(path), settings.labels.known_causes)
    desired = await desired_in(PrefectApi(http), api, file, Filters(settings.filters))
    if desired.compiled.faults:
        raise SettingsError("\n".join(f"{path}: {fault}" for fault in desired.compiled.faults))
    return desired


def _confirm(choices: Choices) -> None:
    """Raises SettingsError unless somebody agrees."""
    if choices.yes:
        return
    if not sys.stdin.isatty():
        raise SettingsError(f"nothing was changed: give --yes to {choices.step} without being asked")
    if input(f"{choices.step.capitalize()}? Only yes is taken for an answer: ").strip() != "yes":
        raise SettingsError("nothing was changed")


async def _carry_out(difference: Plan, api: AutomationsApi, installation: Installation, out: TextIO) -> None:
    try:
        await carry_out(difference, api, installation, lambda line: _print(out, [line]))
    except ApiError as fault:
        raise ApiError(
            f"{fault}\nWhat is reported above was changed: run the command again for the rest", fault.code
        ) from None


def _print(out: TextIO, lines: Iterable[str]) -> None:
    out.write("".join(f"{line}\n" for line in lines))
