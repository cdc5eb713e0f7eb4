"""Heartbeats that Prefect's engine sends from a flow's own process while the flow runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from prefect_monitoring.model.records import FlowRun, Pipeline

MISSED_BEATS: Final = 3
LEAST_INTERVAL_SECONDS: Final = 30.0  # Prefect allows no less


@dataclass(frozen=True, slots=True)
class Beats:
    """The heartbeats of a run within a window: how many, and when the first and the last were sent.

    Instants are from the clock of the machine that the flow runs on.
    """

    count: int
    first: float
    last: float


@dataclass(frozen=True, slots=True)
class Pulse:
    """What is known of a run that sends heartbeats, or sent some before it entered the state `state_id`.

    `silent`: seconds, by our clock, during which the run was watched and no heartbeat came. `interval`: seconds between
    two heartbeats, as observed; None where unknown.
    """

    state_id: str
    beats: Beats
    silent: float
    interval: float | None

    def is_unresponsive(self, default_interval: float) -> bool:
        return self.silent >= MISSED_BEATS * (self.interval or default_interval)


@dataclass(frozen=True, slots=True)
class SilentRun:
    """A flow run that is Running and unresponsive, its pipeline, and the seconds since its last heartbeat."""

    pipeline: Pipeline
    run: FlowRun
    seconds: float
