"""Fixtures that conftest files share."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from support.prefect_server import PrefectServer, start_server
from support.proxy import FaultProxy
from support.seeder import Seeder


@dataclass
class SharedServer:
    """A Prefect server for all tests of a folder, and no longer: an idle one takes a tenth of a core.

    In the folder's conftest.py: `shared = SharedServer(Path(__file__).parent)`, `server = shared.fixture()` and a
    `pytest_runtest_teardown`, with `trylast`, that calls `stop_unless_wanted`.
    """

    folder: Path
    env: Mapping[str, str] = field(default_factory=dict)  # more of the server's settings
    _stack: ExitStack = field(default_factory=ExitStack)
    _server: PrefectServer | None = None

    def fixture(self) -> Any:
        @pytest.fixture(scope="module", name="server")
        def started_server(tmp_path_factory: pytest.TempPathFactory) -> PrefectServer:
            if self._server is None:
                self._server = self._stack.enter_context(start_server(tmp_path_factory.mktemp("server"), env=self.env))
            return self._server

        return started_server

    def stop_unless_wanted(self, following: pytest.Item | None) -> None:
        """`following`: the next test of this worker."""
        if following is None or self.folder not in following.path.parents:
            self._stack.close()
            self._server = None


@pytest.fixture(scope="module", name="server")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    """A server for one module."""
    with start_server(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="module")
def seeder(server: PrefectServer) -> Iterator[Seeder]:
    with Seeder(server.url) as connected:
        yield connected


@pytest.fixture
def unique() -> str:
    """A prefix for the names of this test's flows, deployments and pools."""
    return f"t{uuid4().hex[:8]}-"


@pytest.fixture
def proxy(server: PrefectServer) -> Iterator[FaultProxy]:
    """A proxy in front of the shared server."""
    with FaultProxy(server.url) as running:
        yield running
