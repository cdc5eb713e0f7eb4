"""One real Prefect server for all integration tests; each test uses its own names."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support import fixtures, metrics_seen
from support.seeder import Seeder


def pytest_sessionfinish() -> None:
    metrics_seen.write()


shared = fixtures.SharedServer(Path(__file__).parent)
server = shared.fixture()
seeder = fixtures.seeder
unique = fixtures.unique
proxy = fixtures.proxy


@pytest.hookimpl(trylast=True)  # after the fixtures of the last test
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    shared.stop_unless_wanted(nextitem)


@pytest.fixture(autouse=True)
def remove_lasting_objects(request: pytest.FixtureRequest) -> Iterator[None]:
    """Deletes the costly objects that a test created on the shared server, but not those of module fixtures."""
    if "seeder" not in request.fixturenames:
        yield
        return
    client: Seeder = request.getfixturevalue("seeder")
    older = len(client.lasting)
    yield
    client.clear_away(but=older)
