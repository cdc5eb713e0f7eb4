"""Advice on a valid pipelines file: entries that match nothing, objectives that cannot be measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final

from prefect_monitoring.analysis.durations import format_duration
from prefect_monitoring.model.records import Pipeline
from prefect_monitoring.policy.action_rules import RULES, RULES_FOR_ALL_RUNS
from prefect_monitoring.policy.pipelines_file import PipelinesFile
from prefect_monitoring.policy.resolve import Policies, Policy

_EXAMPLES: Final = 3
_ROUNDING: Final = 1e-6  # as in the rule: a tenth of ten runs is one
_WHAT_HAPPENS: Final = (
    "one failure exceeds it, and PrefectBudgetSpent fires at the second; a longer window or a lower ratio can be"
    " measured"
)


def idle_entries(file: PipelinesFile, pipelines: Collection[Pipeline]) -> Iterator[str]:
    """Advice for each entry that applies to none of the existing `pipelines`."""
    policies = Policies(file)
    matches = [list(policies.entries_for(pipeline)) for pipeline in pipelines]
    applied = {numbers[0] for numbers in matches if numbers}
    matching = {number for numbers in matches for number in numbers}
    for number, entry in enumerate(file.pipelines):
        name = f"entry {number + 1} (flow: {entry.flow})"
        if number not in matching:
            yield f"{name} matches nothing that exists: mind that a pattern has to match the whole name"
        elif number not in applied:
            yield f"{name} never applies: earlier entries match everything that it matches, and the first match wins"


def with_objective(file: PipelinesFile, pipelines: Iterable[Pipeline]) -> dict[Pipeline, Policy]:
    """The `pipelines` whose objective the file declares, in an entry or for every deployment in the defaults."""
    policies = Policies(file)
    in_defaults = file.defaults.slo.min_success_ratio is not None or file.defaults.slo.window is not None
    declared = (pipeline for pipeline in pipelines if in_defaults or policies.entry_for(pipeline))
    resolved = ((pipeline, policies.of(pipeline, ())) for pipeline in declared)
    return {pipeline: policy for pipeline, policy in resolved if policy is not None}


def unmeasurable(file: PipelinesFile, runs: Mapping[Pipeline, int]) -> Iterator[str]:
    """Advice where an objective allows less than one failure among a pipeline's `runs` of one window.

    One line for each pipeline that an entry names, and one for all pipelines with the objective of the defaults.
    """
    policies = Policies(file)
    by_default: list[str] = []
    default: Policy | None = None
    for pipeline, count in sorted(runs.items()):
        policy = policies.of(pipeline, ())
        if policy is None or (allowed := (1 - policy.objective) * count) >= 1 - _ROUNDING:
            continue
        name = f"{pipeline.flow}/{pipeline.deployment}" if pipeline.deployment else pipeline.flow
        if policies.entry_for(pipeline):
            objective = f"{policy.objective:.4g} of {count} runs in {format_duration(policy.window)}"
            yield f"{name}: {objective} allows {allowed:.2g} failures: {_WHAT_HAPPENS}"
        else:
            default = policy
            by_default.append(f"{name} ({count} runs)")
    if default is not None:
        objective = f"{default.objective:.4g} of the runs in {format_duration(default.window)}"
        examples = ", ".join(by_default[:_EXAMPLES])
        yield (
            f"defaults: {objective} allows less than one failure in each of {len(by_default)} deployments,"
            f" such as {examples}: {_WHAT_HAPPENS}"
        )


def coverage(file: PipelinesFile, pipelines: Iterable[Pipeline]) -> Iterator[str]:
    """For each declared rule that acts, how many of `pipelines` it covers."""
    policies = Policies(file)
    covered: Counter[str] = Counter()
    for pipeline in pipelines:
        if (policy := policies.of(pipeline, ())) is not None:
            rules = RULES if pipeline.deployment else RULES_FOR_ALL_RUNS
            covered.update(rule for rule in rules if getattr(policy, rule) is not None)
    for rule in RULES:
        if any(getattr(declared, rule, None) is not None for declared in (file.defaults, *file.pipelines)):
            noun = "pipeline" if rule in RULES_FOR_ALL_RUNS else "deployment"
            yield f"{rule} covers {covered[rule]} {noun}{'' if covered[rule] == 1 else 's'}"


def idle_rules(file: PipelinesFile, pipelines: Collection[Pipeline], pools: Mapping[str, int | None]) -> Iterator[str]:
    """Advice for each deployment and work pool that a rule names and that cannot be acted upon.

    `pools` are the concurrency limits by work pool, None without one.
    """
    for number, entry in enumerate(file.pipelines):
        name = f"entry {number + 1} (flow: {entry.flow})"
        for target in entry.on_failure.targets if entry.on_failure else ():
            if Pipeline(*target) not in pipelines:
                yield f"{name} pauses {target}, which does not exist"
        if entry.scale and entry.scale.work_pool not in pools:
            yield f"{name} scales the work pool {entry.scale.work_pool}, which does not exist"
        elif entry.scale and pools[entry.scale.work_pool] is None:
            yield f"{name} scales the work pool {entry.scale.work_pool}, which has no limit to raise"
