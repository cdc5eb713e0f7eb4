"""Reads the inputs of a plan, and applies a plan, one automation after the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from prefect_monitoring.automations.native.compile import Compiled, Directory, compile_rules
from prefect_monitoring.automations.native.definition import Installation
from prefect_monitoring.automations.native.difference import Plan
from prefect_monitoring.counting.filters import Filters
from prefect_monitoring.model.automations import Automation
from prefect_monitoring.model.names import Names
from prefect_monitoring.policy.declared import declared_policies
from prefect_monitoring.policy.pipelines_file import PipelinesFile
from prefect_monitoring.prefect_api.automations import AutomationsApi
from prefect_monitoring.prefect_api.flow_runs import PrefectApi


@dataclass(frozen=True, slots=True)
class Desired:
    """The pipelines file compiled for this workspace; `names` are those of deployments and blocks, by id."""

    compiled: Compiled
    names: Mapping[str, str]


async def desired_in(prefect: PrefectApi, api: AutomationsApi, file: PipelinesFile, filters: Filters) -> Desired:
    """Raises ApiError."""
    names = Names({}, {}, frozenset()).with_flows(await prefect.flows()).with_deployments(await prefect.deployments())
    deployments = {pipeline: deployment.id for pipeline, deployment in names.live_deployments()}
    policies = declared_policies(file, names, filters)
    blocks = await api.notification_blocks() if any(policy.notify for policy in policies.values()) else []
    known = {deployment_id: "/".join(pipeline) for pipeline, deployment_id in deployments.items()}
    known |= {block.id: block.name for block in blocks}
    return Desired(compile_rules(policies, Directory(deployments, blocks)), known)


async def own_automations(api: AutomationsApi, installation: Installation) -> list[Automation]:
    """The automations of this installation that exist, the oldest first. Raises ApiError."""
    return installation.own(await api.all(), await api.owned_by(installation.owner_resource))


async def carry_out(
    plan: Plan, api: AutomationsApi, installation: Installation, report: Callable[[str], object]
) -> None:
    """Raises ApiError at the first write that fails; the next plan has the remaining changes."""
    for change in plan.change:
        await api.replace(change.existing.id, {**change.definition, "enabled": change.existing.enabled})
        report(f"changed {change.existing.name}")
    for definition in plan.create:
        await api.create(installation.creation(definition))
        report(f"created {definition['name']}")
    for automation in plan.destroy:
        await api.delete(automation.id)
        report(f"destroyed {automation.name}")
