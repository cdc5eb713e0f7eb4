"""Failure storms: many pipelines that fail for the same cause at about the same time. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from prefect_monitoring.analysis.failure_causes import OTHER_CAUSE
from prefect_monitoring.model.changes import KnownRun
from prefect_monitoring.model.records import Pipeline
from prefect_monitoring.model.run_stats import RunStats


@dataclass(frozen=True, slots=True)
class Failure:
    """The newest unresolved failure of a pipeline, at an instant in epoch seconds."""

    pipeline: Pipeline
    cause: str
    at: float


def storms(stats: Mapping[Pipeline, RunStats], *, pipelines: int, window: float) -> list[Failure]:
    """The failures that are part of a storm: at least `pipelines` fail for the same cause within `window` seconds.

    Failures for that cause up to `window` seconds before or after one of them belong to it too.
    """
    by_cause: defaultdict[tuple[str, str], list[Failure]] = defaultdict(list)
    for pipeline, pipeline_stats in stats.items():
        run = pipeline_stats.last_failure
        if pipeline_stats.unresolved and run is not None and run.ended_at is not None:
            by_cause[_cause(run)].append(Failure(pipeline, run.cause, run.ended_at))
    found = []
    for failures in by_cause.values():
        for chain in _chains(sorted(failures, key=lambda failure: failure.at), window):
            if _is_dense(chain, pipelines, window):
                found += chain
    return found


def _cause(run: KnownRun) -> tuple[str, str]:
    """Failures without a known cause have the same cause if their messages have the same pattern."""
    return run.cause, run.pattern if run.cause == OTHER_CAUSE else ""


def _chains(failures: Iterable[Failure], window: float) -> Iterator[list[Failure]]:
    """Splits failures, the oldest first, at gaps of more than `window` seconds."""
    chain: list[Failure] = []
    for failure in failures:
        if chain and failure.at - chain[-1].at > window:
            yield chain
            chain = []
        chain.append(failure)
    if chain:
        yield chain


def _is_dense(chain: Sequence[Failure], pipelines: int, window: float) -> bool:
    """Whether any `pipelines` successive failures of the chain lie within `window` seconds."""
    ends = zip(chain, chain[pipelines - 1 :], strict=False)
    return any(last.at - first.at <= window for first, last in ends)
