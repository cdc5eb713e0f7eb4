"""`healthcheck`: exits with 0 or 1 for any address, certificate and credentials of the exporter."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvicorn

from prefect_monitoring.cli import main
from prefect_monitoring.commands.healthcheck import ask
from prefect_monitoring.commands.listening import bind
from prefect_monitoring.config.settings import CONFIG_ENV, MetricSettings, PollSettings, WebSettings
from prefect_monitoring.web.app import Published, make_app
from support.certificates import make_pair
from support.ports import free_port
from unit.snapshots import make_snapshot


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CONFIG_ENV, raising=False)


@asynccontextmanager
async def served(settings: WebSettings, *, clock: float | None = None) -> AsyncIterator[Published]:
    published = Published(MetricSettings())
    app = make_app(published, settings, PollSettings(), time.time if clock is None else lambda: clock)
    config = uvicorn.Config(
        app,
        log_config=None,
        lifespan="off",
        ssl_certfile=settings.tls_cert or None,
        ssl_keyfile=settings.tls_key or None,
    )
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve(sockets=[bind(settings.listen)]))
    try:
        yield published
    finally:
        server.should_exit = True
        await running


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost", "[::1]", "[::]"])
async def test_healthcheck_asks_the_listen_address(host: str) -> None:
    settings = WebSettings(listen=f"{host}:{free_port()}")
    async with served(settings):
        assert await asyncio.to_thread(ask, settings, ready=False) == (True, "healthy")


async def test_healthcheck_works_with_credentials_and_a_certificate_for_another_name(tmp_path: Path) -> None:
    pair = make_pair(tmp_path)  # for 127.0.0.1, by an unknown authority
    settings = WebSettings(
        listen=f"0.0.0.0:{free_port()}", tls_cert=str(pair.cert), tls_key=str(pair.key), auth_token="sesame"
    )
    async with served(settings):
        assert await asyncio.to_thread(ask, settings, ready=False) == (True, "healthy")


async def test_healthcheck_reports_the_reason() -> None:
    settings = WebSettings(listen=f"127.0.0.1:{free_port()}")
    async with served(settings, clock=4e9) as published:
        assert await asyncio.to_thread(ask, settings, ready=True) == (False, "not ready: starting")
        published.publish(make_snapshot())
        healthy, message = await asyncio.to_thread(ask, settings, ready=False)
        assert (healthy, message) == (False, "polling has stopped: restart the process")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--listen", "127.0.0.1:1"], "no answer on 127.0.0.1:1: "),
        (["--listen", "127.0.0.1:0"], "any free port"),
        (["--listen", "nowhere"], "--listen: 'nowhere' is not HOST:PORT"),
    ],
)
def test_healthcheck_without_an_answer_exits_with_1(
    given: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["healthcheck", *given]) == 1
    assert message in capsys.readouterr().out


async def test_healthcheck_reads_settings_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = WebSettings(listen=f"127.0.0.1:{free_port()}")
    monkeypatch.setenv("PREFECT_MONITORING_LISTEN", settings.listen)
    async with served(settings):
        assert await asyncio.to_thread(main, ["healthcheck"]) == 0
        assert await asyncio.to_thread(main, ["healthcheck", "--ready"]) == 1
    assert capsys.readouterr().out == "healthy\nnot ready: starting\n"
