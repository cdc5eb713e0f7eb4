"""S3 is down over HTTP while the archive follows: nothing is lost or doubled, and the metrics show the outage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from prefect_monitoring.archive import s3_store
from prefect_monitoring.archive.follower import Follower
from prefect_monitoring.archive.metrics import ArchiveStatus, exposition
from prefect_monitoring.archive.opening import open_store
from prefect_monitoring.config.settings import ArchiveSettings
from support.aws import StandIn, aws_stand_in
from support.exposition import parse, total
from support.ports import free_port
from unit.archive.fake_runs import NOON, FakeRuns
from unit.archive.site import Site, status

pytestmark = pytest.mark.slow

BUCKET = "outage"
PASS_SECONDS = 300.0
RUNS = 90  # more than are read at once, so that an outage can start within a batch


class S3:
    """moto's server, up or down, at a fixed address."""

    def __init__(self) -> None:
        self.port = free_port()
        self._running = ExitStack()

    def start(self, *, keep: bool = True) -> StandIn:
        return self._running.enter_context(aws_stand_in(self.port, keep=keep))

    def stop(self) -> None:
        self._running.close()


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    monkeypatch.setattr(s3_store, "ATTEMPTS", 1)
    server = S3()
    moto = server.start(keep=False)
    for name, value in moto.environment().items():
        monkeypatch.setenv(name, value)
    moto.bucket(BUCKET)
    yield server
    server.stop()


def value(done: ArchiveStatus, name: str, **labels: str) -> float:
    return total(parse(exposition(done).text.plain.decode()), f"prefect_exporter_archive_{name}", **labels)


def read_back(client: Any, folder: Path) -> Site:
    """Downloads the bucket as an archive on disk."""
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
        for item in page["Contents"]:
            path = folder / item["Key"]
            path.parent.mkdir(parents=True, exist_ok=True)
            client.download_file(BUCKET, item["Key"], str(path))
    return Site(folder, FakeRuns())


async def test_s3_outage_loses_and_doubles_no_run_and_shows_in_the_metrics(
    s3: S3, archived: Site, fake_runs: FakeRuns, tmp_path: Path
) -> None:
    options = ArchiveSettings(archive_to=f"s3://{BUCKET}")
    store, now = open_store(options), NOON
    following = Follower(archived.archiver(store), store, options, status(), lambda: now)

    def end(number: int) -> None:
        run = fake_runs.add(number, now - options.archive_settle - number % RUNS)
        fake_runs.log(run, now - 1000, "line")

    for number in range(RUNS):
        end(number)
    assert await following.try_pass()
    complete = value(following.status, "oldest_unarchived_timestamp_seconds")
    now += PASS_SECONDS
    for number in range(RUNS, 2 * RUNS):
        end(number)
    # The outage starts in the middle of a batch, after its first documents are written.
    asked = len(fake_runs.asked)
    fake_runs.fault = lambda _: s3.stop() if fake_runs.asked[asked:].count("/logs/filter") == 3 else None
    assert not await following.try_pass()
    fake_runs.fault = lambda _: None
    now += PASS_SECONDS
    end(2 * RUNS)
    assert not await following.try_pass()

    assert value(following.status, "up") == 0
    assert value(following.status, "failures_total", reason="store") == 2
    assert value(following.status, "oldest_unarchived_timestamp_seconds") == complete
    moto = s3.start()
    now += PASS_SECONDS
    assert await following.try_pass()
    assert value(following.status, "up") == 1
    assert value(following.status, "oldest_unarchived_timestamp_seconds") == now - options.archive_settle
    assert value(following.status, "runs_total") == 2 * RUNS + 1

    site = read_back(moto.client("s3"), tmp_path / "back")
    everything = (2 * RUNS + 1, 2 * RUNS + 1)
    assert site.view("select count(*), count(distinct id) from latest_runs") == [everything]
    assert site.view("select count(*), count(distinct flow_run_id) from latest_logs") == [everything]
    assert len(site.files("flow-runs")) == 2 * RUNS + 1
