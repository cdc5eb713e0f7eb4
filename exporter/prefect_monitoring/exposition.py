"""A snapshot as the bytes that a scrape gets: rendered once a poll, only sent by a scrape."""

from __future__ import annotations

import gzip
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client import Metric as ExposedFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.registry import Collector

from prefect_monitoring.metrics import CATALOGUE
from prefect_monitoring.snapshot import Snapshot

log = logging.getLogger(__name__)

TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"
GZIP_LEVEL: Final = 1


@dataclass(frozen=True, slots=True)
class Body:
    content_type: str
    plain: bytes
    gzipped: bytes


@dataclass(frozen=True, slots=True)
class Exposition:
    """The two formats of one snapshot."""

    text: Body
    openmetrics: Body

    def for_accept(self, accept: str) -> Body:
        return self.openmetrics if "application/openmetrics-text" in accept else self.text


def render(snapshot: Snapshot, off: Iterable[str] = ()) -> Exposition:
    """The snapshot in both formats, without the families named in `off`."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(tuple(_families(snapshot, frozenset(off)))))
    ProcessCollector(registry=registry)
    return Exposition(
        _body(TEXT, generate_latest(registry)),
        _body(OPENMETRICS, generate_openmetrics(registry)),  # type: ignore[no-untyped-call] # prometheus_client types it not
    )


def _body(content_type: str, content: bytes) -> Body:
    return Body(content_type, content, gzip.compress(content, GZIP_LEVEL, mtime=0))


def _families(snapshot: Snapshot, off: frozenset[str]) -> Iterator[ExposedFamily]:
    for metric in CATALOGUE:
        if metric.name in off:
            continue
        try:
            yield metric.family(snapshot)
        except Exception:  # a defect of ours: one family missing is visible, one wrong scrape is not
            log.exception("Not exposed: %s", metric.name)


class _Families(Collector):
    def __init__(self, families: tuple[ExposedFamily, ...]) -> None:
        self._families = families

    def collect(self) -> Iterable[ExposedFamily]:
        return self._families

    def describe(self) -> Iterable[ExposedFamily]:
        return ()
