"""What a pipelines file declares for everything that exists, without a running exporter."""

from __future__ import annotations

from prefect_monitoring.counting.filters import Filters
from prefect_monitoring.model.names import Names
from prefect_monitoring.model.records import Pipeline
from prefect_monitoring.policy.pipelines_file import PipelinesFile
from prefect_monitoring.policy.resolve import Policies, Policy


def declared_policies(file: PipelinesFile, names: Names, filters: Filters) -> dict[Pipeline, Policy]:
    """What is declared for each deployment, and for runs without one, of the flows that the options include."""
    declared = Policies(file)
    live = dict(names.live_deployments())
    found: dict[Pipeline, Policy] = {}
    for pipeline in names.live_pipelines():
        deployment = live.get(pipeline)
        tags, pool = (deployment.tags, deployment.work_pool) if deployment else ((), "")
        if filters.allow(pipeline, tags, pool) and (policy := declared.of(pipeline, ())) is not None:
            found[pipeline] = policy
    return found
