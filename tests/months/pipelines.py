"""What is declared of a month: pipelines, and how their runs go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from months.schedules import Schedule, on

FOREVER: Final = on(1000)


@dataclass(frozen=True)
class Behaviour:
    """How a run goes. Seconds; what is None is as usual for its pipeline.

    `late`: nobody takes it for so long. `slot_wait`: it waits for a slot. `missed`: the scheduler makes no run of it.
    `flow_retries`, `task_retries`: failures that are saved. `orphan`: a subflow run outlives it for so long.
    `part_fails`: a subflow run fails, which the flow puts up with. `after_retry`: how it ends when the exporter has
    retried it, if not like the first time. `beats`: for how long it sends heartbeats.
    """

    ends: str = "COMPLETED"
    seconds: float | None = None
    pending: float = 5.0
    late: float = 0.0
    slot_wait: float = 0.0
    missed: bool = False
    flow_retries: int = 0
    task_retries: int = 0
    reports: float | None = 100.0
    orphan: float = 0.0
    part_fails: bool = False
    one_more_task: str = ""
    message: str = ""
    after_retry: str = ""
    beats: float = 0.0


USUAL: Final = Behaviour()


@dataclass(frozen=True)
class Phase:
    """Of the runs of a flow that are due from `begin` until `end`, each `every`th goes like this."""

    flow: str
    begin: float
    end: float
    behaviour: Behaviour
    every: int = 1


@dataclass(frozen=True)
class Pipeline:
    """`tasks`: names with the share of the run that each takes, one after the other.

    `metric`, `asset`: what each completed run reports and materializes. `parallel`: how many runs start each time.
    """

    flow: str
    deployment: str
    schedule: Schedule
    seconds: float
    pool: str = "main"
    queue: str = "default"
    tags: tuple[str, ...] = ()
    tasks: tuple[tuple[str, float], ...] = ()
    metric: str = ""
    asset: str = ""
    parallel: int = 1
    since: float = on(-30)
    until: float = FOREVER
