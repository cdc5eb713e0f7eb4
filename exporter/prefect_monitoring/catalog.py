"""Which names a run is counted under: ids become (flow, deployment) pairs, within filters and label cap. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from prefect_monitoring.fold import SeriesKey, births
from prefect_monitoring.records import DELETED, OVERFLOW, Deployment, Flow, FlowRun, Pair
from prefect_monitoring.settings import Settings


@dataclass(frozen=True, slots=True)
class Names:
    """The flows and deployments that were ever seen, by id, and which of the ids are gone."""

    flows: Mapping[str, Flow]
    deployments: Mapping[str, Deployment]
    gone: frozenset[str]

    def pair_of(self, flow_id: str, deployment_id: str | None) -> Pair:
        flow = self.flows.get(flow_id)
        deployment = self.deployments.get(deployment_id) if deployment_id else None
        absent = DELETED if deployment_id else ""
        return Pair(flow.name if flow else DELETED, deployment.name if deployment else absent)

    def live_deployments(self) -> Iterator[tuple[Pair, Deployment]]:
        for deployment in self.deployments.values():
            known = deployment.flow_id in self.flows and deployment.flow_id not in self.gone
            if known and deployment.id not in self.gone:
                yield self.pair_of(deployment.flow_id, deployment.id), deployment

    def live_flows(self) -> Iterator[Flow]:
        return (flow for flow in self.flows.values() if flow.id not in self.gone)

    def live_pairs(self) -> set[Pair]:
        return {pair for pair, _ in self.live_deployments()} | {Pair(flow.name, "") for flow in self.live_flows()}

    def with_flows(self, flows: Mapping[str, Flow]) -> Names:
        return Names({**self.flows, **flows}, self.deployments, self.gone - flows.keys())

    def with_deployments(self, deployments: Mapping[str, Deployment]) -> Names:
        return Names(self.flows, {**self.deployments, **deployments}, self.gone - deployments.keys())

    def without(self, gone: Collection[str]) -> Names:
        return Names(self.flows, self.deployments, self.gone.union(gone))


def renames(before: Names, after: Names, pairs: Collection[Pair]) -> dict[Pair, Pair]:
    """Which of `pairs` bear another name `after`, because their flow or their deployment was renamed."""
    flows = {
        flow.name: after.flows[flow.id].name for flow in before.live_flows() if after.flows[flow.id].name != flow.name
    }
    moved = {
        pair: after.pair_of(deployment.flow_id, deployment.id)
        for pair, deployment in before.live_deployments()
        if after.pair_of(deployment.flow_id, deployment.id) != pair
    }
    by_flow = {pair: Pair(flows[pair.flow], pair.deployment) for pair in pairs if pair.flow in flows}
    return {old: new for old, new in {**by_flow, **moved}.items() if old in pairs}


class Filters:
    """The include and exclude patterns. A pattern matches a whole name; no include pattern means everything."""

    def __init__(self, settings: Settings) -> None:
        self._rules = {
            kind: (_compile(getattr(settings, f"include_{kind}")), _compile(getattr(settings, f"exclude_{kind}")))
            for kind in ("flows", "deployments", "tags", "pools")
        }

    def allow_flow(self, name: str) -> bool:
        """Whether runs of this flow can be wanted at all, whatever their tags and pools."""
        return self._permits("flows", [name])

    def allow(self, pair: Pair, tags: Iterable[str], pool: str) -> bool:
        values = {"flows": [pair.flow], "deployments": [pair.deployment], "tags": list(tags), "pools": [pool]}
        return all(self._permits(kind, values[kind]) for kind in self._rules)

    def _permits(self, kind: str, values: Collection[str]) -> bool:
        include, exclude = self._rules[kind]
        return not _any_matches(exclude, values) and (not include or _any_matches(include, values))


def _compile(patterns: Iterable[str]) -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(pattern, re.DOTALL) for pattern in patterns)


def _any_matches(patterns: Iterable[re.Pattern[str]], values: Collection[str]) -> bool:
    return any(pattern.fullmatch(value) for pattern in patterns for value in values)


class Catalog:
    """Admits pairs: `admitted` grows up to the cap, later ones are counted together."""

    def __init__(self, filters: Filters, max_pairs: int, admitted: Iterable[Pair]) -> None:
        self._filters = filters
        self._max_pairs = max_pairs
        self._admitted = set(admitted) - {OVERFLOW}

    def pair_of(self, names: Names, run: FlowRun) -> Pair | None:
        """The pair a run is counted under; None when the filters exclude it."""
        deployment = names.deployments.get(run.deployment_id) if run.deployment_id else None
        pair = names.pair_of(run.flow_id, run.deployment_id)
        tags = {*run.tags, *(deployment.tags if deployment else ())}
        return self._admit(pair) if self._filters.allow(pair, tags, run.work_pool) else None

    def births(self, names: Names) -> set[SeriesKey]:
        """The series that exist because something can run: for each deployment, and for each flow that has none."""
        born: set[SeriesKey] = set()
        with_deployment = set()
        for pair, deployment in names.live_deployments():
            with_deployment.add(pair.flow)
            if self._filters.allow(pair, deployment.tags, deployment.work_pool):
                born.update(births(self._admit(pair)))
        for flow in names.live_flows():
            pair = Pair(flow.name, "")
            if flow.name not in with_deployment and self._filters.allow(pair, (), ""):
                born.update(births(self._admit(pair)))
        return born

    def live_deployments(self, names: Names) -> dict[Pair, Deployment]:
        """The deployments that exist and are not excluded; of two with one name, one is about to be found gone."""
        return {
            pair: deployment
            for pair, deployment in names.live_deployments()
            if self._filters.allow(pair, deployment.tags, deployment.work_pool) and pair in self._admitted
        }

    def live_pairs(self, names: Names) -> set[Pair]:
        """The pairs that exist and are not excluded: those whose gauges are shown, and whose series do not expire."""
        flows = {Pair(flow.name, "") for flow in names.live_flows()}
        return self.live_deployments(names).keys() | {pair for pair in flows if self._filters.allow_flow(pair.flow)}

    def keep(self, pairs: Collection[Pair]) -> None:
        """Makes room: only `pairs` still have series."""
        self._admitted &= set(pairs)

    def _admit(self, pair: Pair) -> Pair:
        if pair not in self._admitted and len(self._admitted) >= self._max_pairs:
            return OVERFLOW
        self._admitted.add(pair)
        return pair


def unknown_ids(names: Names, runs: Iterable[FlowRun]) -> tuple[set[str], set[str]]:
    """The flow ids and the deployment ids of `runs` that have no name yet."""
    runs = list(runs)
    flows = {run.flow_id for run in runs} - names.flows.keys()
    deployments = {run.deployment_id for run in runs if run.deployment_id} - names.deployments.keys()
    return flows, deployments
