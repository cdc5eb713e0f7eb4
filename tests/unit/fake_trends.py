"""Variables and blocks with points as a test sets them, with the interface of `TrendStoreApi`."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

from prefect_monitoring.prefect_api.errors import ApiError


@dataclass
class FakeTrends:
    """`values` of Variables by name, `documents` of blocks by `type-slug/name`; `broken`: the error of each request."""

    values: dict[str, Any] = field(default_factory=dict)
    documents: dict[str, list[Any]] = field(default_factory=dict)
    asked: list[frozenset[str]] = field(default_factory=list)
    broken: ApiError | None = None

    async def variables(self, names: Collection[str]) -> dict[str, list[Any]]:
        self._note(names)
        return {name: [self.values[name]] for name in names if name in self.values}

    async def blocks(self, names: Collection[str]) -> dict[str, list[Any]]:
        self._note(names)
        return {name: list(self.documents[name]) for name in names if name in self.documents}

    def _note(self, names: Collection[str]) -> None:
        self.asked.append(frozenset(names))
        if self.broken is not None:
            raise self.broken
