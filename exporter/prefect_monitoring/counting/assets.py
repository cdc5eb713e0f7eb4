"""Counts materializations of assets: when each was last materialized, and the numbers in its metadata. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

from prefect_monitoring.analysis.metric_lines import Observation, fits_label, fits_name
from prefect_monitoring.config.assets import AssetRule, rule_of
from prefect_monitoring.counting.custom_metrics import Admits, Declarations, Values, count_observation, replace_last
from prefect_monitoring.model.changes import Changes, LastValue, SeriesKey
from prefect_monitoring.model.counted_metrics import LAST_MATERIALIZATION, VALUES_REJECTED
from prefect_monitoring.model.metric_lines import Reason
from prefect_monitoring.model.records import NO_FLOW, Materialization


def fold_materializations(
    materializations: Iterable[Materialization],
    rules: Sequence[AssetRule],
    admits_asset: Callable[[str], bool],
    declarations: Declarations,
    values: Values,
    admits: Admits,
) -> Changes:
    """The changes from `materializations`, none of which is counted yet; the oldest first.

    Numbers come only from successful ones: those of a failed one may be incomplete.
    """
    changes = Changes(zero_born={SeriesKey(VALUES_REJECTED, NO_FLOW, reason) for reason in Reason})
    for event in materializations:
        changes.lines[event.id] = event.at
        if rule_of(rules, event.asset) is None:
            continue
        reasons = _count(changes, event, admits_asset, declarations, values, admits)
        for reason in sorted(reasons):
            changes.count(SeriesKey(VALUES_REJECTED, NO_FLOW, reason), event.at)
    return changes


def _count(
    changes: Changes,
    event: Materialization,
    admits_asset: Callable[[str], bool],
    declarations: Declarations,
    values: Values,
    admits: Admits,
) -> list[Reason]:
    if not fits_label(event.asset):
        return [Reason.LABEL]
    if not admits_asset(event.asset):
        return [Reason.TOO_MANY]
    replace_last(changes, materialization_key(event.asset, event.result), LastValue(event.at, event.at), values)
    reasons: list[Reason] = []
    for name, value in event.numbers:
        if not fits_name(name):
            reasons.append(Reason.NAME)
            continue
        observation = Observation(name, (("asset", event.asset),), value)
        declared = declarations.get(name, ())
        reasons += count_observation(changes, observation, NO_FLOW, "", event.at, declared, values, admits)
    return reasons


def materialization_key(asset: str, result: str) -> SeriesKey:
    return SeriesKey(LAST_MATERIALIZATION, NO_FLOW, asset, labels=(("result", result),))


def known_assets(keys: Iterable[SeriesKey]) -> set[str]:
    return {key.detail for key in keys if key.metric == LAST_MATERIALIZATION}


def declared_assets(rules: Sequence[AssetRule], known: Collection[str]) -> dict[str, float | None]:
    """The maximum age of the last materialization, in seconds, of each declared asset; None without a limit.

    Assets that are declared by their exact key are included before their first materialization.
    """
    exact = {rule.exact for rule in rules if rule.exact is not None and rule.max_staleness is not None}
    found = {asset: rule_of(rules, asset) for asset in {*known, *exact}}
    return {asset: rule.max_staleness for asset, rule in sorted(found.items()) if rule is not None}
