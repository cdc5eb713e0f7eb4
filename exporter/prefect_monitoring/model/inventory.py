"""What exists besides runs: pools, workers, queues, limits, automations, tags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from prefect_monitoring.model.records import ConcurrencyLimit, Workers, WorkPool, WorkQueue


@dataclass(frozen=True, slots=True)
class Inventory:
    """A part is None when it was never read, or too long ago to be current.

    `workers` are by pool, without pools that need none and pools whose workers could not be read. `limits` are by the
    name to show; `tags`, by deployment id, are only those to show.
    """

    pools: Sequence[WorkPool] | None = None
    workers: Mapping[str, Workers] = field(default_factory=dict)
    queues: Sequence[WorkQueue] | None = None
    limits: Mapping[str, ConcurrencyLimit] | None = None
    automations: Mapping[bool, int] | None = None
    tags: Mapping[str, Sequence[str]] = field(default_factory=dict)
