"""Heartbeats are read with one request per poll, and silence counts only while the exporter polls."""

from __future__ import annotations

import pytest

from prefect_monitoring.ingest.sources import SOURCES, Readers, cursor_of
from prefect_monitoring.model.records import Pipeline
from prefect_monitoring.prefect_api.client import PrefectHttp
from prefect_monitoring.prefect_api.errors import ApiError
from prefect_monitoring.prefect_api.events import MAX_RUNS, EventsApi
from prefect_monitoring.prefect_api.pagination import iso
from prefect_monitoring.snapshot.builder import summarise_active, with_heartbeats
from unit.fake_prefect import FakePrefect
from unit.loopback import Answer, Loopback

PIPELINE = Pipeline("etl", "daily")
DOWN = ApiError("no answer", "timeout")


async def watch(fake: FakePrefect, readers: Readers, seconds: float, step: float = 15.0) -> int:
    """Polls for a time; returns how many runs are unresponsive then."""
    for _ in range(int(seconds / step)):
        fake.now += step
        await readers.flow_runs.read_under_way()
        await readers.heartbeats.read()
    under_way = readers.flow_runs.under_way
    assert under_way is not None
    active = with_heartbeats(summarise_active(under_way.runs.values()), under_way.runs.values(), readers.heartbeats)
    return active.unresponsive.get(PIPELINE, 0)


async def test_silence_begins_when_the_last_beat_was_seen(fake: FakePrefect, flow_run: str, readers: Readers) -> None:
    fake.events.sent[flow_run] = [fake.now - 30.0 * number for number in range(4)]
    assert await watch(fake, readers, 90.0) == 0
    assert await watch(fake, readers, 15.0) == 1
    fake.events.sent[flow_run].append(fake.now)
    assert await watch(fake, readers, 15.0) == 0
    fake.finish(flow_run)
    assert await watch(fake, readers, 300.0) == 0
    assert fake.events.beats_asked[-1] == {flow_run}, "no request without active runs"


async def test_outage_is_not_silence(fake: FakePrefect, flow_run: str, readers: Readers) -> None:
    fake.events.sent[flow_run] = [fake.now - 30.0 * number for number in range(4)]
    assert await watch(fake, readers, 30.0) == 0
    fake.now += 3600.0
    assert await watch(fake, readers, 30.0) == 0
    fake.broken["active_runs"] = DOWN
    for _ in range(50):  # while the list of runs cannot be read, this run may have ended
        fake.now += 15.0
        with pytest.raises(ApiError):
            await readers.flow_runs.read_under_way()
        await readers.heartbeats.read()
    fake.broken.clear()
    assert await watch(fake, readers, 60.0) == 0
    assert await watch(fake, readers, 30.0) == 1


async def test_heartbeats_are_requested_by_run_within_a_time_range(site: Loopback, http: PrefectHttp) -> None:
    run_id = "00000000-0000-0000-0000-000000000007"
    row = {
        "value": f"prefect.flow-run.{run_id}",
        "label": "a-run",
        "count": 3,
        "start_time": "1970-01-01T00:00:10Z",
        "end_time": "1970-01-01T00:01:10",
    }
    site.answer = lambda _: Answer(body=[row])
    api = EventsApi(http)
    beats = await api.heartbeats([run_id], 0.0, 60.0)
    assert (beats[run_id].count, beats[run_id].first, beats[run_id].last) == (3, 10.0, 70.0)
    assert site.asked[0].method == "POST"
    assert site.asked[0].body == {
        "filter": {
            "occurred": {"since": iso(0.0), "until": iso(60.0)},
            "event": {"name": ["prefect.flow-run.heartbeat"]},
            "resource": {"id": [f"prefect.flow-run.{run_id}"]},
        }
    }
    site.answer = lambda _: Answer(body=[])
    await api.heartbeats([str(number) for number in range(MAX_RUNS + 1)], 0.0, 60.0)
    assert len(site.asked) == 3
    assert await api.heartbeats([], 0.0, 60.0) == {}
    assert len(site.asked) == 3


@pytest.mark.parametrize("status", [404, 405, 422])
async def test_server_that_cannot_count_events_is_not_requested_again(
    site: Loopback, http: PrefectHttp, status: int
) -> None:
    site.answer = lambda _: Answer(status)
    api = EventsApi(http)
    for _ in range(3):
        assert await api.heartbeats(["r"], 0.0, 60.0) == {}
    assert len(site.asked) == 1


def test_heartbeats_are_not_a_counted_source() -> None:
    entry = next(entry for entry in SOURCES if entry.name == "heartbeats")
    assert cursor_of(entry) == ""
