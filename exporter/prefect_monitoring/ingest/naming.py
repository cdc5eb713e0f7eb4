"""Flow and deployment names of runs, requested by id where the ledger does not know them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

from prefect_monitoring.ingest.ports import FlowRunSource
from prefect_monitoring.model.names import Names, unknown_ids
from prefect_monitoring.model.records import DELETED, Deployment, Flow, FlowRun
from prefect_monitoring.prefect_api.errors import ApiError
from prefect_monitoring.prefect_api.unreadable import Rows, UnreadableRow, collected, collected_in, some_are_nameless


@dataclass(frozen=True, slots=True)
class Naming:
    """What the API knows about the flows and deployments of runs.

    `lost`: ids that it no longer has. `unnamed`: ids that could not be requested, because of `reason`. `unreadable`:
    rows that exist but cannot be read, with their faults.
    """

    flows: Mapping[str, Flow]
    deployments: Mapping[str, Deployment]
    lost: Collection[str]
    unnamed: Collection[str]
    reason: str
    unreadable: Mapping[str, UnreadableRow]

    def waits(self, run: FlowRun) -> bool:
        """Whether the run has to wait until its flow and deployment can be requested."""
        return run.flow_id in self.unnamed or run.deployment_id in self.unnamed

    def fault_of(self, run: FlowRun) -> str:
        """Why the run has no name although its flow and deployment exist; "" if it has one."""
        row = self.unreadable.get(run.flow_id) or self.unreadable.get(run.deployment_id or "")
        return f"its flow or deployment {row.id} cannot be read: {row.reason}" if row is not None else ""


async def ask_names(api: FlowRunSource, names: Names, runs: Sequence[FlowRun]) -> Naming:
    """Requests the names of `runs` that `names` lacks. Never raises ApiError."""
    flow_ids, deployment_ids = unknown_ids(names, runs)
    unnamed: set[str] = set()
    unreadable: Rows = {}
    reason = ""
    flows: dict[str, Flow] = {}
    deployments: dict[str, Deployment] = {}
    # Collected separately: among those of the reading, the id of a flow would be taken for that of a run.
    with nullcontext() if collected() is None else collected_in(unreadable):
        try:
            flows = await api.flows(flow_ids) if flow_ids else {}
        except ApiError as fault:
            unnamed, reason = unnamed | flow_ids, str(fault)
        try:
            deployments = await api.deployments(deployment_ids) if deployment_ids else {}
        except ApiError as fault:
            unnamed, reason = unnamed | deployment_ids, str(fault)
    if some_are_nameless(unreadable):  # missing objects may be among these rows
        missing = (flow_ids | deployment_ids) - flows.keys() - deployments.keys() - unnamed
        unreadable |= {one: UnreadableRow(one, "the server does not answer it") for one in missing}
    # Stored as deleted; otherwise every reading would request them again.
    lost = (flow_ids | deployment_ids) - flows.keys() - deployments.keys() - unnamed - unreadable.keys()
    flows |= {gone: Flow(gone, DELETED) for gone in lost & flow_ids}
    deployments |= {gone: Deployment(gone, DELETED, "", "", "", ()) for gone in lost & deployment_ids}
    return Naming(flows, deployments, lost, unnamed, reason, unreadable)
