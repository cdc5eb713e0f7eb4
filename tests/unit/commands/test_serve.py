"""The listening socket, and a ledger that another process may still have open."""

from __future__ import annotations

import signal
import socket

import httpx
import pytest
import uvicorn

from prefect_monitoring.commands import serve
from prefect_monitoring.commands.listening import ListenError, bind
from prefect_monitoring.config.settings import Settings
from prefect_monitoring.ledger.errors import LedgerInUseError
from prefect_monitoring.ledger.ledger import Ledger
from support.http_client import CLIENT
from support.options import settings_with
from support.ports import free_port
from support.processes import wait_until


def test_small_responses_do_not_wait_for_acknowledgements() -> None:
    with bind("127.0.0.1:0") as listener, socket.create_connection(listener.getsockname()):
        connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize("option", ["--listen", "--archive-listen"])
def test_port_in_use_is_reported_with_the_option_for_another(option: str) -> None:
    with bind("127.0.0.1:0") as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ListenError, match=f"Cannot listen on {address} .* with {option}$"):
            bind(address, option)


class Lock:
    """A ledger that another process releases after `busy` tries; opened like `serve._open` does."""

    def __init__(self, ledger: Ledger, busy: int) -> None:
        self.ledger, self.busy, self.tries = ledger, busy, 0

    def open(self, *_: object) -> Ledger:
        self.tries += 1
        if self.tries <= self.busy:
            raise LedgerInUseError("in use")
        return self.ledger


@pytest.fixture
def server() -> uvicorn.Server:
    return uvicorn.Server(uvicorn.Config(lambda: None))


async def test_serve_waits_for_a_ledger_in_use(
    ledger: Ledger, server: uvicorn.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = Lock(ledger, busy=2)
    monkeypatch.setattr(serve, "LOCK_POLL_SECONDS", 0.01)
    monkeypatch.setattr(serve, "_open", lock.open)
    assert await serve._open_when_free(Settings(), "http://prefect.test/api", server) is ledger
    assert lock.tries == 3


async def test_ledger_in_use_for_longer_than_ledger_wait_is_an_error(
    ledger: Ledger, server: uvicorn.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = Lock(ledger, busy=1000)
    monkeypatch.setattr(serve, "LOCK_POLL_SECONDS", 0.01)
    monkeypatch.setattr(serve, "_open", lock.open)
    with pytest.raises(LedgerInUseError):
        await serve._open_when_free(settings_with(ledger_wait="0.1s"), "http://prefect.test/api", server)
    assert 1 < lock.tries < 1000


async def test_wait_for_the_ledger_ends_when_asked_to_stop(
    ledger: Ledger, server: uvicorn.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = Lock(ledger, busy=1)

    def open_and_stop(*_: object) -> Ledger:
        server.should_exit = True
        return lock.open()

    monkeypatch.setattr(serve, "LOCK_POLL_SECONDS", 0.01)
    monkeypatch.setattr(serve, "_open", open_and_stop)
    assert await serve._open_when_free(Settings(), "http://prefect.test/api", server) is None
    assert lock.tries == 1


async def test_serve_stopped_while_the_ledger_opens_ends_without_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """By then the socket whose address it would log is closed."""
    port = free_port()

    def opened_too_late(*_: object) -> str:
        # Signals are handled before requests are answered, but the socket accepts connections earlier.
        wait_until(lambda: answered(port), 30, "an answer", ignore=(httpx.HTTPError,))
        signal.raise_signal(signal.SIGTERM)
        wait_until(lambda: refused(port), 30, "an end of answering")
        return "a ledger"

    watched = []

    async def watch(*arguments: object) -> None:
        watched.append(arguments[1])

    monkeypatch.setattr(serve, "_favour_scrapes", lambda: None)
    monkeypatch.setattr(serve, "api_address", lambda: "http://prefect.test/api")
    monkeypatch.setattr(serve, "_open", opened_too_late)
    monkeypatch.setattr(serve, "_watch", watch)
    await serve.serve(settings_with(listen=f"127.0.0.1:{port}"))
    assert watched == ["a ledger"]


def answered(port: int) -> bool:
    return CLIENT.get(f"http://127.0.0.1:{port}/-/healthy").status_code > 0


def refused(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.parametrize(
    ("url", "runbooks"),
    [
        ("http://127.0.0.1:9877", "http://127.0.0.1:9877/runbooks"),
        ("https://[::1]:9877", "https://[::1]:9877/runbooks"),
        ("http://0.0.0.0:9877", f"http://{socket.gethostname()}:9877/runbooks"),
        ("http://[::]:9877", f"http://{socket.gethostname()}:9877/runbooks"),
    ],
)
def test_messages_link_to_the_exporters_runbooks_by_default(url: str, runbooks: str) -> None:
    assert serve.with_runbooks(settings_with(), url).links.runbook_url == runbooks
    elsewhere = settings_with(runbook_url="https://docs.example.com/runbooks")
    assert serve.with_runbooks(elsewhere, url) == elsewhere
