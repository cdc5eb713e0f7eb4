"""What a pipelines file declares for everything that exists, without a running exporter."""

from __future__ import annotations

from prefect_monitoring.counting.filters import Filters
from prefect_monitoring.model.names import Names
from prefect_monitoring.model.records import Pair
from prefect_monitoring.policy.pipelines_file import PipelinesFile
from prefect_monitoring.policy.resolve import Policies, Policy


def declared_policies(file: PipelinesFile, names: Names, filters: Filters) -> dict[Pair, Policy]:
    """What is declared for each deployment, and for runs without one, of the flows that the options include."""
    declared = Policies(file)
    live = dict(names.live_deployments())
    found: dict[Pair, Policy] = {}
    for pair in names.live_pairs():
        deployment = live.get(pair)
        tags, pool = (deployment.tags, deployment.work_pool) if deployment else ((), "")
        if filters.allow(pair, tags, pool) and (policy := declared.of(pair, ())) is not None:
            found[pair] = policy
    return found
