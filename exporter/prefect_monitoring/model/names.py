"""The names of flows and deployments, by id."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from prefect_monitoring.model.records import DELETED, Deployment, Flow, FlowRun, Pipeline


@dataclass(frozen=True, slots=True)
class Names:
    """The flows and deployments that were ever seen, by id, and which of the ids are gone."""

    flows: Mapping[str, Flow]
    deployments: Mapping[str, Deployment]
    gone: frozenset[str]

    def pipeline_of(self, flow_id: str, deployment_id: str | None) -> Pipeline:
        flow = self.flows.get(flow_id)
        deployment = self.deployments.get(deployment_id) if deployment_id else None
        absent = DELETED if deployment_id else ""
        return Pipeline(flow.name if flow else DELETED, deployment.name if deployment else absent)

    def pipeline_of_deployment(self, deployment_id: str) -> Pipeline:
        deployment = self.deployments.get(deployment_id)
        return self.pipeline_of(deployment.flow_id if deployment else "", deployment_id)

    def live_deployments(self) -> Iterator[tuple[Pipeline, Deployment]]:
        for deployment in self.deployments.values():
            known = deployment.flow_id in self.flows and deployment.flow_id not in self.gone
            if known and deployment.id not in self.gone:
                yield self.pipeline_of(deployment.flow_id, deployment.id), deployment

    def live_flows(self) -> Iterator[Flow]:
        return (flow for flow in self.flows.values() if flow.id not in self.gone)

    def live_pipelines(self) -> set[Pipeline]:
        return {pipeline for pipeline, _ in self.live_deployments()} | {
            Pipeline(flow.name, "") for flow in self.live_flows()
        }

    def with_flows(self, flows: Mapping[str, Flow]) -> Names:
        return Names({**self.flows, **flows}, self.deployments, self.gone - flows.keys())

    def with_deployments(self, deployments: Mapping[str, Deployment]) -> Names:
        return Names(self.flows, {**self.deployments, **deployments}, self.gone - deployments.keys())

    def without(self, gone: Collection[str]) -> Names:
        return Names(self.flows, self.deployments, self.gone.union(gone))

    def forgetting(self, ids: Collection[str]) -> Names:
        """Without these flows and deployments."""
        flows = {one.id: one for one in self.flows.values() if one.id not in ids}
        deployments = {one.id: one for one in self.deployments.values() if one.id not in ids}
        return Names(flows, deployments, self.gone.difference(ids)) if ids else self


def unknown_ids(names: Names, runs: Iterable[FlowRun]) -> tuple[set[str], set[str]]:
    """The flow ids and the deployment ids of `runs` that have no name yet."""
    runs = list(runs)
    flows = {run.flow_id for run in runs} - names.flows.keys()
    deployments = {run.deployment_id for run in runs if run.deployment_id} - names.deployments.keys()
    return flows, deployments
