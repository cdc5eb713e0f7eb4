"""Fixtures that conftest files share; `server` and `seeder` for a session, or for a module with a server to itself."""

from collections.abc import Iterator
from typing import Any, Literal
from uuid import uuid4

import pytest

from support.prefect_server import PrefectServer, start_server
from support.proxy import FaultProxy
from support.seeder import Seeder

Scope = Literal["session", "module"]


def server_fixture(scope: Scope) -> Any:
    @pytest.fixture(scope=scope, name="server")
    def started_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
        with start_server(tmp_path_factory.mktemp("server")) as server:
            yield server

    return started_server


def seeder_fixture(scope: Scope) -> Any:
    @pytest.fixture(scope=scope, name="seeder")
    def connected_seeder(server: PrefectServer) -> Iterator[Seeder]:
        with Seeder(server.url) as seeder:
            yield seeder

    return connected_seeder


@pytest.fixture
def unique() -> str:
    """A prefix for the names of this test's flows, deployments and pools."""
    return f"t{uuid4().hex[:8]}-"


@pytest.fixture
def proxy(server: PrefectServer) -> Iterator[FaultProxy]:
    """A proxy in front of the shared server."""
    with FaultProxy(server.url) as running:
        yield running
