"""The policies of a pipelines file for all existing pipelines, without a running exporter."""

from __future__ import annotations

from prefect_monitoring.counting.filters import Filters
from prefect_monitoring.model.names import Names
from prefect_monitoring.model.records import Pipeline
from prefect_monitoring.policy.pipelines_file import PipelinesFile
from prefect_monitoring.policy.resolve import Policies, Policy


def declared_policies(file: PipelinesFile, names: Names, filters: Filters) -> dict[Pipeline, Policy]:
    """The policy of each deployment, and of runs without one, for the flows that the options include."""
    declared = Policies(file)
    live = dict(names.live_deployments())
    policies: dict[Pipeline, Policy] = {}
    for pipeline in names.live_pipelines():
        deployment = live.get(pipeline)
        tags, pool = (deployment.tags, deployment.work_pool) if deployment else ((), "")
        if filters.allow(pipeline, tags, pool) and (policy := declared.of(pipeline, ())) is not None:
            policies[pipeline] = policy
    return policies
