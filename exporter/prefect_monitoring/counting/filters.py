"""The include and exclude patterns."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from prefect_monitoring.config.settings import FilterSettings
from prefect_monitoring.model.records import Pipeline


class Filters:
    """The include and exclude patterns. A pattern matches a whole name; no include pattern means everything."""

    def __init__(self, settings: FilterSettings) -> None:
        self._rules = {
            kind: (_compile(getattr(settings, f"include_{kind}")), _compile(getattr(settings, f"exclude_{kind}")))
            for kind in ("flows", "deployments", "tags", "pools")
        }

    def allow_flow(self, name: str) -> bool:
        """Whether runs of this flow can pass, regardless of their tags and pools."""
        return self._permits("flows", [name])

    def allow_pool(self, name: str) -> bool:
        return self._permits("pools", [name])

    def allow(self, pipeline: Pipeline, tags: Iterable[str], pool: str) -> bool:
        values = {"flows": [pipeline.flow], "deployments": [pipeline.deployment], "tags": list(tags), "pools": [pool]}
        return all(self._permits(kind, values[kind]) for kind in self._rules)

    def _permits(self, kind: str, values: Collection[str]) -> bool:
        include, exclude = self._rules[kind]
        return not _any_matches(exclude, values) and (not include or _any_matches(include, values))


def _compile(patterns: Iterable[str]) -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(pattern, re.DOTALL) for pattern in patterns)


def _any_matches(patterns: Iterable[re.Pattern[str]], values: Collection[str]) -> bool:
    return any(pattern.fullmatch(value) for pattern in patterns for value in values)
