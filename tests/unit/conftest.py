"""Fixtures of the unit tests: a ledger file for each test, and readers of the model of the server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import hypothesis
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from prefect_monitoring.ingest.flow_runs import Reader
from prefect_monitoring.ingest.sources import Readers
from prefect_monitoring.ledger.ledger import Ledger
from prefect_monitoring.ledger.opening import open_ledger
from prefect_monitoring.model.counted_metrics import DEFAULT_BOUNDS
from prefect_monitoring.prefect_api.client import PrefectHttp, Traffic, open_http
from support.ledgers import create_tables
from support.options import settings_with
from unit.fake_prefect import MONDAY_NOON, FakePrefect
from unit.ledger_values import lookbacks_of
from unit.loopback import Loopback, loopback
from unit.rig import API, DAY, NO_SYNC, MakeReader, MakeReaders, OpenLedger, pragma, readers_of

# The duration of an example depends on the machine more than on the code.
hypothesis.settings.register_profile("ours", deadline=None)
hypothesis.settings.load_profile("ours")


@pytest.fixture
def open_it(tmp_path: Path) -> Iterator[OpenLedger]:
    """Opens the ledger of this test, any number of times; arguments override the defaults."""
    opened: list[Ledger] = []

    def open_with(lookback: float = 30 * DAY, task_lookback: float | None = None, **changes: object) -> Ledger:
        arguments = {
            "url": f"sqlite:///{tmp_path}/ledger.db",
            "api": API,
            "bounds": DEFAULT_BOUNDS,
            "lookbacks": lookbacks_of(lookback, task_lookback),
            "now": MONDAY_NOON,
            **changes,
        }
        ledger = open_ledger(create_tables(str(arguments.pop("url"))), arguments.pop("api"), **arguments)  # type: ignore[arg-type]
        opened.append(ledger)
        pragma(ledger, NO_SYNC)
        return ledger

    yield open_with
    for ledger in opened:
        ledger.close()


@pytest.fixture
def ledger(open_it: OpenLedger) -> Ledger:
    return open_it()


@pytest.fixture
def fake() -> FakePrefect:
    return FakePrefect()


@pytest.fixture
def make_readers(fake: FakePrefect, ledger: Ledger) -> Iterator[MakeReaders]:
    """Creates readers of `fake` into `ledger`, or another ledger, with the given settings."""
    made: list[Readers] = []

    def make(into: Ledger = ledger, **options: object) -> Readers:
        made.append(readers_of(fake, into, settings_with(**options)))
        return made[-1]

    yield make
    for readers in made:
        readers.flow_runs.close()


@pytest.fixture
def make_reader(make_readers: MakeReaders) -> MakeReader:
    return lambda **options: make_readers(**options).flow_runs


@pytest.fixture
def readers(make_readers: MakeReaders) -> Readers:
    return make_readers()


@pytest.fixture
def reader(readers: Readers) -> Reader:
    return readers.flow_runs


@pytest.fixture
def place(fake: FakePrefect) -> tuple[str, str]:
    flow = fake.add_flow("etl")
    return flow, fake.add_deployment("daily", flow)


@pytest.fixture
def flow_run(fake: FakePrefect, place: tuple[str, str]) -> str:
    run = fake.schedule(*place)
    fake.start(run)
    return run


@pytest.fixture
async def site() -> AsyncIterator[Loopback]:
    async with loopback() as server:
        yield server


@pytest.fixture
def traffic() -> Traffic:
    return Traffic()


@pytest.fixture
async def http(site: Loopback, traffic: Traffic) -> AsyncIterator[PrefectHttp]:
    """A client of `site` without a relevant rate limit."""
    with temporary_settings({PREFECT_API_URL: site.url}):
        async with open_http(traffic, 1000) as client:
            yield client
