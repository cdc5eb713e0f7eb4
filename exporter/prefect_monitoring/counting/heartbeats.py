"""Which runs have stopped sending heartbeats. Pure; clocks of other machines are compared only with themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prefect_monitoring.model.heartbeats import LEAST_INTERVAL_SECONDS, Beats, Pulse
from prefect_monitoring.model.records import FlowRun


def follow(
    before: Mapping[str, Pulse], active: Iterable[FlowRun], beats: Mapping[str, Beats], passed: float
) -> dict[str, Pulse]:
    """The pulses, by run id, of those `active` runs that ever sent a heartbeat, `passed` seconds after `before`.

    `beats`: of Running runs. A waiting or paused run is not silent; its pulse is kept for later.
    """
    after: dict[str, Pulse] = {}
    for run in active:
        known, seen = before.get(run.id), beats.get(run.id)
        if run.state.type != "RUNNING":
            if known is not None:
                after[run.id] = Pulse(run.state.id, known.beats, 0.0, None)
        elif seen is not None or known is not None:
            after[run.id] = _pulse(run, known, seen, passed)
    return after


def _pulse(run: FlowRun, known: Pulse | None, seen: Beats | None, passed: float) -> Pulse:
    if known is None or known.state_id != run.state.id:
        beats = seen or (known.beats if known is not None else Beats(0, 0.0, 0.0))
        return Pulse(run.state.id, beats, 0.0, _mean_interval(run, beats))
    if seen is None or not _moved(known.beats, seen):
        return Pulse(run.state.id, seen or known.beats, known.silent + passed, known.interval)
    learned = [known.interval, _mean_interval(run, seen), _interval_between(known.beats, seen)]
    return Pulse(run.state.id, seen, 0.0, min((seconds for seconds in learned if seconds is not None), default=None))


def _moved(before: Beats, after: Beats) -> bool:
    """Whether a heartbeat came; while none comes, the window only loses the oldest ones.

    The last heartbeat is not enough: after a retry on a machine whose clock is behind, it does not advance for a while.
    """
    came_while_one_left = after.first > before.first and after.count >= before.count
    return after.last > before.last or after.count > before.count or came_while_one_left


def _mean_interval(run: FlowRun, beats: Beats) -> float | None:
    """Only for a first attempt, because attempts are separated by a wait."""
    if run.attempts > 1 or beats.count < 2:  # noqa: PLR2004 two beats have one interval
        return None
    return max((beats.last - beats.first) / (beats.count - 1), LEAST_INTERVAL_SECONDS)


def _interval_between(before: Beats, after: Beats) -> float | None:
    """Only where exactly one heartbeat came: of two at once, one may have been late."""
    if after.count != before.count + 1 or after.last <= before.last or not before.count:
        return None
    return max(after.last - before.last, LEAST_INTERVAL_SECONDS)
