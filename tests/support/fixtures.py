"""The fixtures `server` and `seeder`, for a whole session or for a module that needs a server to itself."""

from collections.abc import Iterator
from typing import Any, Literal

import pytest

from support.prefect_server import PrefectServer, start_server
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
