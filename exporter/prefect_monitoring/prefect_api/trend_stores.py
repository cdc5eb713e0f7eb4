"""Reads Variables and blocks in which flows keep lists of points, without secrets of blocks."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from prefect_monitoring.model.trend_points import POINTS_BLOCK, parts_pattern
from prefect_monitoring.prefect_api.errors import INCOMPLETE, ApiError
from prefect_monitoring.prefect_api.pagination import Paginator, Row, decode, decode_all, text

MAX_PAGES: Final = 5
_BLOCKS: Final = "/block_documents/filter"

Stored = Mapping[str, list[Any]]
"""The contents of each store, by its name: one value, or several that belong together."""


class TrendStoreApi:
    """Reads the contents of stores. Every method raises ApiError when there is no usable answer."""

    def __init__(self, paginator: Paginator) -> None:
        self._paginator = paginator

    async def variables(self, names: Collection[str]) -> Stored:
        """The values of the Variables of these names that exist."""
        if not names:
            return {}
        rows = await self._paginator.among("/variables/filter", "variables", "name", names, sort="NAME_ASC")
        return dict(decode(lambda row: (text(row["name"]), [row["value"]]), rows))

    async def blocks(self, names: Collection[str]) -> Stored:
        """The data of the blocks of these names, `type-slug/name`, that exist.

        A `PipelineMetrics` block includes its point documents: one more request for each block, more for long lists.
        """
        if not names:
            return {}
        wanted = {"name": {"any_": sorted({name.partition("/")[2] for name in names})}, "is_anonymous": {"eq_": False}}
        found = {}
        for row in await self._documents(wanted, {name.partition("/")[0] for name in names}):
            slug, name, data = decode_all(_document, [row])[0]
            if f"{slug}/{name}" in names:
                found[f"{slug}/{name}"] = [data, *(await self._parts(name) if slug == POINTS_BLOCK else ())]
        return found

    async def _parts(self, block: str) -> list[Any]:
        is_part = parts_pattern(block)
        wanted = {"name": {"like_": f"{block}-points-"}, "is_anonymous": {"eq_": True}}
        rows = decode(_document, await self._documents(wanted, {POINTS_BLOCK}))
        return [data for _, name, data in rows if is_part.fullmatch(name)]

    async def _documents(self, wanted: Mapping[str, object], slugs: Collection[str]) -> list[Row]:
        """Documents of at most `MAX_PAGES` pages; rows that move between pages are harmless, as points have ids."""
        criteria = {
            "block_documents": wanted,
            "block_types": {"slug": {"any_": sorted(slugs)}},
            "include_secrets": False,
            "sort": "NAME_ASC",
        }
        found: list[Row] = []
        for _ in range(MAX_PAGES):
            rows, limit = await self._paginator.page(_BLOCKS, criteria, len(found))
            found += rows
            if len(rows) < limit:
                return found
        raise ApiError(f"a trend store has more than {len(found)} documents: too many to read", INCOMPLETE)


def _document(row: Row) -> tuple[str, str, Any]:
    """Slug of the type, name and data of a block document."""
    return str(row["block_type"]["slug"]), str(row["name"]), row["data"]
