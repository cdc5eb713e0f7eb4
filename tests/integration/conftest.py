"""One real Prefect server for all integration tests; each test uses its own names."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support import fixtures, metrics_seen
from support.seeder import Seeder


def pytest_sessionfinish() -> None:
    metrics_seen.write()


# Services of which no test here waits for the work; their loops are half of what an idle server does.
QUIET = {
    "PREFECT_SERVER_SERVICES_CANCELLATION_CLEANUP_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_CLEANUP_RECONCILER_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_PAUSE_EXPIRATIONS_LOOP_SECONDS": "600",
    "PREFECT_SERVER_SERVICES_REPOSSESSOR_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_SCHEDULER_RECENT_DEPLOYMENTS_LOOP_SECONDS": "600",  # Seeder.schedule schedules
}
shared = fixtures.SharedServer(Path(__file__).parent, QUIET)
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
