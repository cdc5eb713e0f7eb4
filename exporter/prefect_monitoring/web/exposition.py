"""Renders a snapshot for scrapes, once per poll."""

from __future__ import annotations

import gzip
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client import Metric as ExposedFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector

from prefect_monitoring.metrics.family import Metric
from prefect_monitoring.snapshot.model import Snapshot
from prefect_monitoring.web.negotiation import OPENMETRICS, TEXT

log = logging.getLogger(__name__)

# Compressed at every poll, sent at every scrape; to see the cost: make bench ARGS="--parts polls scrapes".
GZIP_LEVEL: Final = 1


@dataclass(frozen=True, slots=True)
class Body:
    """The bytes of a response, plain and compressed; `content_type` as in the HTTP header."""

    content_type: str
    plain: bytes
    gzipped: bytes


class Exposition:
    """A snapshot in the requested formats; each is rendered once."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    @cached_property
    def text(self) -> Body:
        return _body(TEXT, generate_latest(self._registry))

    @cached_property
    def openmetrics(self) -> Body:
        return _body(OPENMETRICS, generate_openmetrics(self._registry))  # type: ignore[no-untyped-call] # it has no types

    def body(self, content_type: str) -> Body:
        return self.openmetrics if content_type == OPENMETRICS else self.text


def render(snapshot: Snapshot, metrics: Sequence[Metric]) -> Exposition:
    """The `metrics` of a snapshot, and those of this process. A family with a defect is left out, and logged."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(tuple(_families(snapshot, metrics))))
    ProcessCollector(registry=registry)
    return Exposition(registry)


def _body(content_type: str, content: bytes) -> Body:
    return Body(content_type, content, gzip.compress(content, GZIP_LEVEL, mtime=0))


def _families(snapshot: Snapshot, metrics: Sequence[Metric]) -> Iterator[ExposedFamily]:
    for metric in metrics:
        try:
            yield metric.family(snapshot)
        except Exception:  # a bug of ours costs one family, not the whole scrape
            log.exception("Not exposed: %s", metric.name)


class _Families(Collector):
    def __init__(self, families: tuple[ExposedFamily, ...]) -> None:
        self._families = families

    def collect(self) -> Iterable[ExposedFamily]:
        return self._families

    def describe(self) -> Iterable[ExposedFamily]:
        return ()
