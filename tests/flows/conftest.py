"""One real Prefect server for flows that use the helpers, and for the archive of their runs."""

from pathlib import Path

import pytest

from support import fixtures

shared = fixtures.SharedServer(Path(__file__).parent)
server = shared.fixture()
seeder = fixtures.seeder
unique = fixtures.unique
proxy = fixtures.proxy


@pytest.hookimpl(trylast=True)  # after the fixtures of the last test
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> None:
    shared.stop_unless_wanted(nextitem)
