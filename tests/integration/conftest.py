"""One real Prefect server for all integration tests; each test uses its own names."""

from collections.abc import Iterator

import pytest

from support import fixtures, metrics_seen
from support.seeder import Seeder


def pytest_sessionfinish() -> None:
    metrics_seen.write()


server = fixtures.server_fixture("session")
seeder = fixtures.seeder_fixture("session")
unique = fixtures.unique
proxy = fixtures.proxy


@pytest.fixture(autouse=True)
def remove_lasting_objects(request: pytest.FixtureRequest) -> Iterator[None]:
    """Deletes the costly objects that a test created on the shared server, but not those of module fixtures."""
    if "seeder" not in request.fixturenames:
        yield
        return
    shared: Seeder = request.getfixturevalue("seeder")
    older = len(shared.lasting)
    yield
    shared.clear_away(but=older)
