"""What a valid pipelines file may still not mean: entries that match nothing, objectives that cannot be measured."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from prefect_monitoring.option_types import format_duration
from prefect_monitoring.policy.pipelines import PipelinesFile
from prefect_monitoring.policy.policies import Policies
from prefect_monitoring.records import Pair


def idle_entries(file: PipelinesFile, pairs: Collection[Pair]) -> Iterator[str]:
    """Advice for each entry that counts for none of `pairs`, those that exist."""
    policies = Policies(file)
    matches = [list(policies.entries_for(pair)) for pair in pairs]
    first = {found[0] for found in matches if found}
    any_of = {number for found in matches for number in found}
    for number, entry in enumerate(file.pipelines):
        name = f"entry {number + 1} (flow: {entry.flow})"
        if number not in any_of:
            yield f"{name} matches nothing that exists: mind that a pattern has to match the whole name"
        elif number not in first:
            yield f"{name} never counts: earlier entries match all that it matches; the first one wins"


def unmeasurable(file: PipelinesFile, runs: Mapping[Pair, int]) -> Iterator[str]:
    """Advice for each pair whose objective allows less than one failure among its `runs` of one window."""
    policies = Policies(file)
    for pair, count in sorted(runs.items()):
        policy = policies.of(pair, ())
        if policy is None:
            continue
        allowed = (1 - policy.objective) * count
        if allowed < 1:
            yield (
                f"{pair.flow}/{pair.deployment}: {policy.objective:.4g} of {count} runs in"
                f" {format_duration(policy.window)} allows {allowed:.2g} failures: a first failure is above it, and"
                " PrefectBudgetSpent tells of the second; a longer window or a lower ratio can be measured"
            )
