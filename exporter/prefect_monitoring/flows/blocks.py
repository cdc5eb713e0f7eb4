"""A block that keeps row counts and durations of a pipeline's runs, for trends and averages inside a flow.

Prefect has no compare-and-swap: of two runs that read a list, add to it and save it, one loses its point. So nothing is
ever overwritten here. Each `record` creates a document, which the server does atomically, and `recent` merges them.
When there are many, a run folds those that it has read into one new document and deletes them only after that was
created: every point is in at least one document at any time. Runs that fold at once leave points in two documents;
points have ids, so they still count once.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, ClassVar, Final, Self, TypedDict, cast
from uuid import uuid4

import httpx
from prefect.blocks.core import Block
from prefect.client.orchestration import SyncPrefectClient, get_client
from pydantic import Field, field_validator

from prefect_monitoring.flows.run_context import run_logger
from prefect_monitoring.model.trend_points import POINTS_BLOCK, instant, merge, parts_pattern

FOLD_ABOVE: Final = 20
_CONFLICT: Final = 409
_NOT_FOUND: Final = 404
_READS: Final = 5
_DAY: Final = 86400


class Point(TypedDict):
    """What one run did; `timestamp` is ISO 8601 in UTC, `duration_seconds` in seconds; None was not recorded."""

    timestamp: str
    row_count: float | None
    duration_seconds: float | None


class PipelineMetrics(Block):
    """Keeps row counts and durations of a pipeline's runs. `open` it, then `record` in each run.

    What is recorded lies in documents beside this one, which Prefect's UI does not list. Points older than `keep_days`,
    and the oldest beyond `max_points`, are dropped.
    """

    _block_type_name: ClassVar[str | None] = "Pipeline Metrics"
    _block_type_slug: ClassVar[str | None] = POINTS_BLOCK
    _description: ClassVar[str | None] = "Row counts and durations of a pipeline's runs, for trends."

    keep_days: int = Field(default=400, ge=1, description="Points older than this are dropped.")
    max_points: int = Field(default=5_000, ge=1, le=20_000, description="Of more points, the oldest are dropped.")
    points: list[dict[str, Any]] = Field(
        default_factory=list, description="Points of the past, to begin with: timestamp, row_count, duration_seconds."
    )

    @field_validator("points")
    @classmethod
    def _check_points(cls, points: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for point in points:
            try:
                instant(point)
            except (KeyError, TypeError, ValueError):
                raise ValueError(f"a point without a timestamp in ISO 8601: {point!r}") from None
        return points

    @classmethod
    def open(cls, name: str) -> Self:
        """The block of this name; saved with default options when there is none yet."""
        block: Any = cls  # `_sync`: results instead of coroutines, in async flows too
        with suppress(ValueError):  # it does not exist
            return cast("Self", block.load(name, _sync=True))
        with suppress(ValueError):  # another run has just saved it
            block().save(name, _sync=True)
        return cast("Self", block.load(name, _sync=True))

    def record(
        self,
        *,
        row_count: float | None = None,
        duration_seconds: float | None = None,
        timestamp: datetime | None = None,
    ) -> None:
        """Adds a point; `timestamp`, with a time zone, is now by default.

        Raises ValueError for a point without numbers and for a block that was never saved, and Prefect's errors.
        """
        at = datetime.now(UTC) if timestamp is None else timestamp
        if at.tzinfo is None:
            raise ValueError("PipelineMetrics.record(): timestamp needs a time zone")
        numbers = {"row_count": _plain(row_count), "duration_seconds": _plain(duration_seconds)}
        given = [number for number in numbers.values() if number is not None]
        if not given or not all(math.isfinite(number) for number in given):
            raise ValueError("PipelineMetrics.record(): row_count, duration_seconds or both, as finite numbers")
        point = {"id": uuid4().hex, "timestamp": at.astimezone(UTC).isoformat(), **numbers}
        name = self._saved_name()
        with get_client(sync_client=True) as client:
            store = _Store(client, name)
            store.create([point])
            try:
                self._fold(store)
            except httpx.HTTPError as error:  # the point is kept; the next run folds
                run_logger().warning("The points of %s were not folded (%s)", name, type(error).__name__)

    def recent(self, *, days: float = 30) -> list[Point]:
        """The points of the last `days`, oldest first."""
        name = self._saved_name()
        with get_client(sync_client=True) as client:
            documents = _Store(client, name).documents()
        since = time.time() - min(days, self.keep_days) * _DAY
        return [
            Point(
                timestamp=datetime.fromtimestamp(instant(point), UTC).isoformat(),
                row_count=point.get("row_count"),
                duration_seconds=point.get("duration_seconds"),
            )
            for point in merge([*self.points, *_points(documents)], since=since, at_most=self.max_points)
        ]

    def _saved_name(self) -> str:
        if self._block_document_name is None:
            raise ValueError("PipelineMetrics: save the block first, or load it: PipelineMetrics.load(name)")
        return self._block_document_name

    def _fold(self, store: _Store) -> None:
        if store.count() <= FOLD_ABOVE:
            return
        documents = store.documents()
        if len(documents) <= FOLD_ABOVE:  # the others belong to a block whose name ends like this one's
            return
        since = time.time() - self.keep_days * _DAY
        store.create(merge(_points(documents), since=since, at_most=self.max_points))
        for document in documents:
            store.delete(document["id"])


def _plain(number: float | None) -> float | None:
    """As JSON takes it: not a Decimal or a numpy scalar."""
    return number if number is None or type(number) is int else float(number)


def _points(documents: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [point for document in documents for point in document["data"].get("points", [])]


class _Store:
    """The documents with the points that were recorded into the block `name`. Raises httpx.HTTPError."""

    def __init__(self, client: SyncPrefectClient, name: str) -> None:
        self._client = client
        self._name = name
        self._is_ours = parts_pattern(name)
        path = f"/block_types/slug/{PipelineMetrics.get_block_type_slug()}/block_documents/name/{name}"
        block = self._request("GET", path).json()
        self._kind = {key: block[key] for key in ("block_type_id", "block_schema_id")}
        documents = {
            "block_type_id": {"any_": [block["block_type_id"]]},
            "is_anonymous": {"eq_": True},
            "name": {"like_": f"{name}-points-"},
        }
        self._criteria = {"block_documents": documents}

    def create(self, points: Sequence[Mapping[str, Any]]) -> None:
        name = f"{self._name}-points-{uuid4().hex}"
        document = {"name": name, "is_anonymous": True, "data": {"points": list(points)}, **self._kind}
        # A conflict is this very document, created by a request whose answer was lost and that the client repeated.
        self._request("POST", "/block_documents/", document, accept=_CONFLICT)

    def delete(self, document_id: str) -> None:
        self._request("DELETE", f"/block_documents/{document_id}", accept=_NOT_FOUND)

    def documents(self) -> list[dict[str, Any]]:
        """All documents. One page is one state of the database; with several pages, two readings have to agree."""
        pages = self._pages()
        for _ in range(_READS):
            if len(pages) <= 1:
                break
            before, pages = pages, self._pages()
            if _ids(pages) == _ids(before):
                break
        return [document for page in pages for document in page if self._is_ours.fullmatch(document["name"])]

    def count(self) -> int:
        """How many there are, without their points."""
        return int(self._request("POST", "/block_documents/count", self._criteria).json())

    def _pages(self) -> list[list[dict[str, Any]]]:
        pages: list[list[dict[str, Any]]] = []
        offset = 0
        # Without a limit in the request: an operator may have lowered the maximum.
        while page := self._request("POST", "/block_documents/filter", {**self._criteria, "offset": offset}).json():
            pages.append(page)
            offset += len(page)
        return pages

    def _request(self, method: Any, path: str, body: object = None, *, accept: int = 0) -> httpx.Response:
        try:
            return self._client.request(method, cast("Any", path), json=body)
        except httpx.HTTPStatusError as error:
            if error.response.status_code != accept:
                raise
            return error.response


def _ids(pages: Iterable[Iterable[Mapping[str, Any]]]) -> set[str]:
    return {document["id"] for page in pages for document in page}
