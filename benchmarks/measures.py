"""A figure, what it should be, and how a set of them is shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Measure:
    name: str
    value: float
    unit: str = ""
    at_most: float | None = None
    at_least: float | None = None
    binding: bool = False  # missed, it fails the benchmark: a count, which no busy machine can change

    @property
    def missed(self) -> bool:
        too_high = self.at_most is not None and self.value > self.at_most
        return too_high or (self.at_least is not None and self.value < self.at_least)

    @property
    def aim(self) -> str:
        if self.at_most is not None:
            return f"≤ {_number(self.at_most)}"
        return f"≥ {_number(self.at_least)}" if self.at_least is not None else ""

    @property
    def verdict(self) -> str:
        verdict = (" MISSED" if self.missed else " OK") if self.aim else ""
        return f"{_number(self.value)}{verdict}"


def same_for_all(name: str, results: Mapping[str, Sequence[Measure]]) -> Measure:
    """Whether the measure `name` has one value for all sizes: how far the values are apart."""
    values = [measure.value for measures in results.values() for measure in measures if measure.name == name]
    return Measure(f"{name}: difference between the sizes", max(values) - min(values), at_most=0, binding=True)


def markdown(results: Mapping[str, Sequence[Measure]]) -> str:
    """A row for each measure, a column for each size."""
    by_name = {size: {measure.name: measure for measure in measures} for size, measures in results.items()}
    names = dict.fromkeys(name for measures in by_name.values() for name in measures)
    lines = [f"| | {' | '.join(results)} | aim |", f"| --- |{' ---: |' * len(results)} --- |"]
    for name in names:
        found = [measures.get(name) for measures in by_name.values()]
        some = next(measure for measure in found if measure)
        cells = [measure.verdict if measure else "" for measure in found]
        unit = f", {some.unit}" if some.unit else ""
        aims = dict.fromkeys(measure.aim for measure in found if measure)
        lines.append(f"| {name}{unit} | {' | '.join(cells)} | {', '.join(aims)} |")
    return "\n".join(lines)


def _number(value: float) -> str:
    if value >= 1000 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"
