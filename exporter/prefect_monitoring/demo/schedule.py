"""The deployments of the demo, and when they run, in one table.

A run costs about two CPU seconds to start, and a laptop should not notice the demo. So a common period is cut into
slots of five seconds, and no two runs ever start in the same one: a deployment is due at its own slot of every period,
or of every n-th. Retries by the exporter start after their delay, in any slot.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

SLOT_SECONDS: Final = 5
PERIOD_SECONDS: Final = 120
# From deploying to the first slot: the server needs it to schedule the first runs, and the worker to come up. No slot
# may be that close to the end of a period: schedules have no first start, and would already be due in the meantime.
LEAD_SECONDS: Final = 20
WORKER_POOL: Final = "data-platform"
POOL_WITHOUT_WORKER: Final = "gpu"
# More than run at once: the exporter needs a limit that it can raise, and this one must not delay runs.
POOL_SLOTS: Final = {WORKER_POOL: 10}


@dataclass(frozen=True, slots=True)
class Example:
    """A deployment of the flow `flow`, which the function of that name in the file of that name defines.

    `slots` are those of a period in which it starts runs: the first is when it is due. The others are for subflows,
    which start a while after their parent, and for deployments that are due several `times` a period. `every` counts
    periods; 0 is a deployment without a schedule, whose slots are those in which another flow may start it.
    """

    flow: str
    slots: tuple[int, ...]
    tags: tuple[str, ...]
    shows: str
    every: int = 1
    times: int = 1
    pool: str = WORKER_POOL
    name: str = "prod"

    @property
    def entrypoint(self) -> str:
        function = self.flow.replace("-", "_")
        return f"{function}.py:{function}"

    @property
    def interval_seconds(self) -> int:
        return self.every * PERIOD_SECONDS // self.times

    @property
    def offset_seconds(self) -> int:
        return self.slots[0] * SLOT_SECONDS


_ENGINEERING: Final = "team:data-engineering"
_ANALYTICS: Final = "team:analytics"
_PLATFORM: Final = "team:platform"
_SCIENCE: Final = "team:data-science"

EXAMPLES: Final[tuple[Example, ...]] = (
    Example("dbt-daily-pipeline", (0,), ("critical", _ENGINEERING, "daily", "dbt"), "A bottleneck and METRIC lines"),
    # Three times a period, so that the first two minutes show a retry that helps, one that does not, and what follows.
    Example(
        "supplier-prices",
        (1, 9, 17),
        (_ENGINEERING, "hourly"),
        "The exporter's retries: saved, then exhausted",
        times=3,
    ),
    # dbt takes 10 to 13 s, and the worker up to 8 s to ask for work and to start a process.
    Example(
        "lightdash-refresh", (2, 3, 4), (_ANALYTICS, "dashboards"), "Runs downstream of dbt-daily-pipeline", every=0
    ),
    Example("legacy-ftp-import", (5,), (_ENGINEERING, "daily"), "A flow that always fails"),
    Example("warehouse-compaction", (6,), (_PLATFORM, "weekly"), "A long run, for which a pool gets slots", every=3),
    Example("gpu-training", (7,), (_SCIENCE, "daily"), "Late runs: no worker", every=3, pool=POOL_WITHOUT_WORKER),
    Example("image-embeddings", (8,), (_SCIENCE, "daily"), "A flow whose process is killed"),
    Example("partition-backfill", (10,), (_ENGINEERING, "backfill"), "Mapped tasks", every=2),
    Example("marketing-attribution", (11, 12), (_ANALYTICS, "daily"), "A subflow, six seconds after its parent"),
    Example("orders-api-ingest", (13,), (_ENGINEERING, "hourly"), "Task retries"),
    Example("crm-sync", (14,), (_ANALYTICS, "hourly"), "Flow retries"),
    Example("customer-enrichment", (15,), (_ANALYTICS, "hourly"), "A cached task", every=2),
    Example("currency-rates", (16,), ("critical", _ENGINEERING, "hourly"), "A healthy flow"),
    Example("freshness-check", (18,), (_PLATFORM, "hourly"), "A healthy flow", every=2),
    # Late in the period: by then it is paused, because the retry of supplier-prices failed, or resumed.
    Example("margin-report", (19,), (_ANALYTICS, "hourly"), "Paused while supplier-prices has failed"),
    Example("nightly-vacuum", (20,), (_PLATFORM, "daily"), "A healthy flow without tasks", every=2),
)


def starts(examples: Iterable[Example], periods: int) -> list[int]:
    """Seconds, ascending, at which runs start within `periods` periods."""
    return sorted(
        period * PERIOD_SECONDS + slot * SLOT_SECONDS
        for example in examples
        for period in range(0, periods, example.every or 1)
        for slot in example.slots
    )
