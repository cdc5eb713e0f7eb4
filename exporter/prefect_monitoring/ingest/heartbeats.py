"""Reads the heartbeats of active runs, by their ids, with one request per poll."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from prefect_monitoring.counting.heartbeats import follow
from prefect_monitoring.ingest.flow_runs import Reader, UnderWay
from prefect_monitoring.ingest.ports import EventSource
from prefect_monitoring.ingest.source import Reading
from prefect_monitoring.model.heartbeats import Pulse
from prefect_monitoring.model.units import HOUR

# The maximum clock error, in both directions, of the machines that flows run on.
CLOCKS_APART_SECONDS: Final = HOUR
WINDOW_SECONDS: Final = 2 * HOUR
# After a longer gap between readings, heartbeats may have been missed, and the gap does not count as silence.
LONGEST_GAP_SECONDS: Final = 60.0


class HeartbeatReader:
    """`pulses`: by run id, of active runs that ever sent a heartbeat; None before the first reading."""

    def __init__(self, reader: Reader, api: EventSource, default_interval: float) -> None:
        self.pulses: Mapping[str, Pulse] | None = None
        self._reader = reader
        self._api = api
        self.default_interval = default_interval
        self._read_at = 0.0
        self._under_way: UnderWay | None = None

    async def read(self) -> Reading:
        """Counts the heartbeats of the runs that were last Running; nothing before the active runs are read again."""
        under_way, now = self._reader.under_way, self._reader.clock()
        if under_way is None or under_way is self._under_way:
            return Reading(0, asked=False)
        runs = [run for _, run in under_way.runs.values()]
        running = [run.id for run in runs if run.state.type == "RUNNING"]
        since, until = now - WINDOW_SECONDS, now + CLOCKS_APART_SECONDS
        beats = await self._api.heartbeats(running, since, until) if running else {}
        gap = now - self._read_at
        passed = gap if 0 < gap <= LONGEST_GAP_SECONDS else 0.0
        self.pulses = follow(self.pulses or {}, runs, beats, passed)
        self._read_at, self._under_way = now, under_way
        return Reading(len(beats), asked=bool(running))
