"""Runs that stop sending heartbeats are detected within three beats, and no other run is."""

from __future__ import annotations

import random
from collections.abc import Mapping

import pytest

from prefect_monitoring.counting.heartbeats import follow
from prefect_monitoring.ingest.heartbeats import WINDOW_SECONDS
from prefect_monitoring.model.heartbeats import Beats, Pulse
from prefect_monitoring.model.records import FlowRun, State
from support.examples import examples

DEFAULT = 180.0
POLL = 15.0


def run(state: str = "s1", state_type: str = "RUNNING", attempts: int = 1) -> FlowRun:
    return FlowRun(
        "r",
        "a-run",
        "f",
        None,
        "",
        (),
        State(state, state_type, state_type.title(), 0.0, ""),
        attempts,
        rescheduled=False,
        expected_at=None,
        started_at=None,
        ended_at=None,
    )


def seen_at(now: float, events: list[tuple[float, float]]) -> dict[str, Beats]:
    """What the server counts at `now` of beats given as (sent by its clock, arrived by ours)."""
    there = [sent for sent, arrived in events if arrived <= now and sent >= now - WINDOW_SECONDS]
    return {"r": Beats(len(there), min(there), max(there))} if there else {}


def first_alarm(events: list[tuple[float, float]], states: Mapping[float, FlowRun], end: float) -> float | None:
    """When polls until `end` first find the run unresponsive; `states`: the run from each instant on."""
    pulses: dict[str, Pulse] = {}
    now = 0.0
    while now < end:
        present = states[max(at for at in states if at <= now)]
        beats = seen_at(now, events) if present.state.type == "RUNNING" else {}
        pulses = follow(pulses, [present], beats, POLL if now else 0.0)
        if "r" in pulses and pulses["r"].is_unresponsive(DEFAULT):
            return now
        now += POLL
    return None


@pytest.mark.parametrize(
    ("interval", "beats", "limit"), [(30.0, 20, 120.0), (30.0, 2, 120.0), (180.0, 1, 600.0), (180.0, 9, 600.0)]
)
@pytest.mark.parametrize("offset", [-600.0, 0.0, 600.0])
def test_killed_run_is_found_within_three_beats(interval: float, beats: int, limit: float, offset: float) -> None:
    times = [1.0 + number * interval for number in range(beats)]
    killed = times[-1] + 1.0
    alarm_at = first_alarm([(at + offset, at + 2.0) for at in times], {0.0: run()}, killed + 3600.0)
    assert alarm_at is not None
    assert 2 * interval < alarm_at - killed <= limit


def test_run_killed_after_a_single_beat_is_found_after_the_default_interval() -> None:
    alarm_at = first_alarm([(1.0, 2.0)], {0.0: run()}, 3600.0)
    assert alarm_at is not None
    assert 3 * DEFAULT <= alarm_at <= 3 * DEFAULT + 2 * POLL


def test_run_that_never_sent_a_heartbeat_is_never_unresponsive() -> None:
    assert follow({}, [run()], {}, POLL) == {}
    assert first_alarm([], {0.0: run()}, 90_000.0) is None


@pytest.mark.parametrize("state_type", ["PAUSED", "SCHEDULED", "CANCELLING", "PENDING"])
def test_waiting_run_is_not_silent_and_starts_over_when_it_runs_again(state_type: str) -> None:
    before = [(30.0 * number, 30.0 * number) for number in range(10)]
    states = {0.0: run(), 280.0: run("s2", state_type), 4000.0: run("s3", attempts=2)}
    alarm_at = first_alarm(before, states, 9000.0)
    assert alarm_at is not None
    assert 4000.0 + 3 * DEFAULT <= alarm_at <= 4000.0 + 3 * DEFAULT + 3 * POLL, "its interval is measured again"
    again = [(4000.0 + 30.0 * number, 4000.0 + 30.0 * number) for number in range(200)]
    assert first_alarm([*before, *again], states, 9000.0) is None


def test_time_without_polls_is_not_silence() -> None:
    pulses = follow({}, [run()], {"r": Beats(5, 0.0, 120.0)}, 0.0)
    for _ in range(100):
        pulses = follow(pulses, [run()], {"r": Beats(5, 0.0, 120.0)}, 0.0)
    assert not pulses["r"].is_unresponsive(DEFAULT)
    assert follow(pulses, [], {}, POLL) == {}, "an ended run is forgotten"


def test_no_false_alarm_in_ten_thousand_runs() -> None:
    """Clocks ten minutes off, late and lost events, another machine after a retry an hour later, all at random."""
    chance = random.Random(14)
    for number in range(examples(10_000)):
        interval = chance.choice([30.0, 30.0, 60.0, 180.0])
        events: list[tuple[float, float]] = []
        states = {0.0: run()}
        at = 0.2
        for attempt in (1, 2) if number % 10 == 0 else (1,):
            offset = chance.uniform(-600.0, 600.0)
            lost = False
            for _ in range(chance.randint(3, 12)):
                lost = not lost and chance.random() < 0.05  # never two in a row
                if not lost:
                    events.append((at + offset, at + chance.choice([0.5, 2.0, 5.0, interval * 0.4])))
                at += interval + chance.uniform(0.0, 0.1)
            states[at - interval + 1.0] = run(f"w{attempt}", "SCHEDULED", attempt)
            at += 3600.0
            states[at] = run(f"s{attempt + 1}", attempts=attempt + 1)
            at += 0.2
        del states[max(states)]
        assert first_alarm(events, states, max(states) + 60.0) is None, number
