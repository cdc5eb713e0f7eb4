"""What exists beside runs: pools, workers, queues, limits, automations, tags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from prefect_monitoring.model.records import ConcurrencyLimit, Workers, WorkPool, WorkQueue


@dataclass(frozen=True, slots=True)
class Inventory:
    """A part is None when it was never read, or so long ago that it cannot pass for the present.

    `workers` are by pool, without the pools that have none by design and those whose workers could not be read.
    `limits` are by the name to show, `tags` by deployment id and only those that are to be shown.
    """

    pools: Sequence[WorkPool] | None = None
    workers: Mapping[str, Workers] = field(default_factory=dict)
    queues: Sequence[WorkQueue] | None = None
    limits: Mapping[str, ConcurrencyLimit] | None = None
    automations: Mapping[bool, int] | None = None
    tags: Mapping[str, Sequence[str]] = field(default_factory=dict)
