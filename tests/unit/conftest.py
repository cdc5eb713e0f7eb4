"""What the unit tests share: a ledger in a file of its own, and a reader of the model of the server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from prefect_monitoring.analysis.failure_causes import cause_of
from prefect_monitoring.catalog import Catalog, Filters
from prefect_monitoring.ledger import Ledger, open_ledger
from prefect_monitoring.reader import Reader
from prefect_monitoring.series import DEFAULT_BOUNDS
from prefect_monitoring.settings import Settings
from unit.fake_prefect import MONDAY_NOON, FakePrefect

API = "http://prefect.test/api"
DAY = 86400.0

OpenLedger = Callable[..., Ledger]


@pytest.fixture
def open_it(tmp_path: Path) -> Iterator[OpenLedger]:
    """Opens the ledger of this test, as often as it likes; the arguments override the usual ones."""
    opened: list[Ledger] = []

    def open_with(**changes: object) -> Ledger:
        arguments = {
            "url": f"sqlite:///{tmp_path}/ledger.db",
            "api": API,
            "bounds": DEFAULT_BOUNDS,
            "lookback": 30 * DAY,
            "now": MONDAY_NOON,
            **changes,
        }
        ledger = open_ledger(arguments.pop("url"), arguments.pop("api"), **arguments)  # type: ignore[arg-type]
        opened.append(ledger)
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


MakeReader = Callable[..., Reader]


@pytest.fixture
def make_reader(fake: FakePrefect, ledger: Ledger) -> Iterator[MakeReader]:
    """A reader of `fake` into `ledger`, with the filters and the cap of the settings given."""
    made: list[Reader] = []

    def make(**options: object) -> Reader:
        chosen = Settings(**options)  # type: ignore[arg-type]
        catalog = Catalog(Filters(chosen), chosen.max_pairs, {key.pair for key in ledger.series})
        made.append(Reader(fake, ledger, catalog, cause_of, fake.clock))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for reader in made:
        reader.close()


@pytest.fixture
def reader(make_reader: MakeReader) -> Reader:
    return make_reader()
