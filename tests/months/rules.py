"""The shipped rules, as far as alerts need them, and what promtool makes of them over a month."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

RULES: Final = Path(__file__).parents[2] / "prometheus" / "rules"
_NAME: Final = re.compile(r"(?<![\w$.:])(?:[a-z_]+:)?prefect_\w+(?::\w+)?")
_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*"')

Group = Mapping[str, Any]


def names_in(expression: str) -> set[str]:
    """The metrics that an expression reads."""
    return set(_NAME.findall(_STRING.sub('""', expression)))


def shipped_groups(folder: Path = RULES) -> Iterator[Group]:
    for path in sorted(folder.glob("*.yml"), key=lambda path: (path.stem != "recording", path.stem)):
        yield from yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]


def needed_by_alerts(groups: Sequence[Group]) -> set[str]:
    """Every metric that an alert reads, also through recording rules."""
    rules = [rule for group in groups for rule in group["rules"]]
    records = {rule["record"]: names_in(rule["expr"]) for rule in rules if "record" in rule}
    found: set[str] = set()
    left = {name for rule in rules if "alert" in rule for name in names_in(rule["expr"])}
    while left:
        found |= left
        left = {name for one in left for name in records.get(one, ())} - found
    return found


def without_what_only_dashboards_read(groups: Sequence[Group]) -> list[Group]:
    """Expressions, `for` and labels as they are shipped. Annotations have tests of their own, and cost minutes here."""
    needed = needed_by_alerts(groups)
    kept: list[Group] = []
    for group in groups:
        rules = [
            {key: value for key, value in rule.items() if key != "annotations"}
            for rule in group["rules"]
            if "alert" in rule or rule["record"] in needed
        ]
        kept.append({**group, "rules": rules})
    return kept
