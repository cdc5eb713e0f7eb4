"""One real Prefect server for all integration tests; each test uses its own names."""

from collections.abc import Iterator
from uuid import uuid4

import pytest

from support import metrics_seen
from support.fixtures import seeder_fixture, server_fixture
from support.prefect_server import PrefectServer
from support.proxy import FaultProxy
from support.seeder import Seeder


def pytest_sessionfinish() -> None:
    metrics_seen.write()


server = server_fixture("session")
seeder = seeder_fixture("session")


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


@pytest.fixture
def unique() -> str:
    """A prefix for the names of this test's flows, deployments and pools."""
    return f"t{uuid4().hex[:8]}-"


@pytest.fixture
def proxy(server: PrefectServer) -> Iterator[FaultProxy]:
    """A proxy in front of the shared server."""
    with FaultProxy(server.url) as running:
        yield running
