"""The TLS certificate: refusals with their messages, and reloading a renewed one."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from prefect_monitoring.config.settings import WebSettings
from prefect_monitoring.web import tls
from support.certificates import Pair, make_pair
from support.processes import wait_until_async


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return make_pair(tmp_path)


def settings_of(pair: Pair) -> WebSettings:
    return WebSettings(tls_cert=str(pair.cert), tls_key=str(pair.key))


def test_valid_pair_is_accepted(pair: Pair, tmp_path: Path) -> None:
    tls.check_pair(WebSettings())
    tls.check_pair(settings_of(pair))
    both = tmp_path / "both.pem"
    both.write_bytes(pair.key.read_bytes() + pair.cert.read_bytes())
    tls.check_pair(WebSettings(tls_cert=str(both)))


def files(folder: Path) -> None:
    """Files that may be confused with `server.crt` and its key."""
    make_pair(folder)
    make_pair(folder, "other")
    make_pair(folder, "locked", password="Sesam-0451")
    (folder / "garbage").write_bytes(b"\x00\x01Sesam-0451")
    (folder / "empty").write_bytes(b"")
    (folder / "cut.key").write_text("-----BEGIN PRIVATE KEY-----\nSesam-0451\n")


@pytest.mark.parametrize(
    ("cert", "key", "complaints"),
    [
        ("missing.crt", "server.key", ["tls_cert: ", "missing.crt cannot be read (No such file or directory)"]),
        ("server.crt", "missing.key", ["tls_key: ", "missing.key cannot be read (No such file or directory)"]),
        (".", "server.key", ["tls_cert: ", "cannot be read (Is a directory)"]),
        ("garbage", "server.key", ["tls_cert: ", "garbage holds no certificate in PEM form"]),
        ("empty", "server.key", ["tls_cert: ", "empty holds no certificate in PEM form"]),
        ("server.key", "server.crt", ["tls_cert: ", "server.key holds no certificate in PEM form"]),
        ("server.crt", "", ["server.crt holds no private key in PEM form", "tls_key"]),
        ("server.crt", "garbage", ["garbage holds no private key in PEM form", "tls_key"]),
        ("server.crt", "cut.key", ["cut.key holds no private key in PEM form", "tls_key"]),
        ("server.crt", "other.key", ["other.key does not belong to the first certificate in", "server.crt"]),
        ("locked.crt", "locked.key", ["locked.key is protected by a password", "without one"]),
    ],
)
def test_invalid_pair_is_refused(tmp_path: Path, cert: str, key: str, complaints: list[str]) -> None:
    files(tmp_path)
    keyed = {"tls_key": str(tmp_path / key)} if key else {}
    settings = WebSettings(tls_cert=str(tmp_path / cert), **keyed)
    with pytest.raises(tls.TlsError) as caught:
        tls.check_pair(settings)
    for complaint in complaints:
        assert complaint in str(caught.value)
    assert "Sesam" not in str(caught.value)


@asynccontextmanager
async def serving(settings: WebSettings) -> AsyncIterator[int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(settings.tls_cert, settings.tls_key)
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    keeping = asyncio.create_task(tls.keep_current(context, settings))
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        keeping.cancel()
        server.close()


async def served(port: int) -> str:
    return await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port))


async def test_renewed_certificate_is_served(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tls, "RENEWAL_SECONDS", 0.02)
    caplog.set_level(logging.INFO, "prefect_monitoring")
    first = pair.cert.read_text()
    async with serving(settings_of(pair)) as port:
        assert await served(port) == first
        renewed = make_pair(tmp_path, "renewed")
        renewed.cert.replace(pair.cert)
        await wait_until_async(lambda: "is invalid" in caplog.text, 60, "a warning about half a pair")
        assert await served(port) == first, "an incomplete pair is not served"
        renewed.key.replace(pair.key)
        await wait_until_async(lambda: "is in use" in caplog.messages[-1], 60, "the renewed pair")
        second = await served(port)
        assert second == pair.cert.read_text() != first
        pair.key.unlink()
        await wait_until_async(lambda: "server.key cannot be read" in caplog.messages[-1], 60, "the loss to be told")
        await asyncio.sleep(0.2)
        assert await served(port) == second
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO", "WARNING"], "each is logged once"


async def test_without_tls_no_certificate_is_watched() -> None:
    async with asyncio.timeout(1):
        await tls.keep_current(None, WebSettings())
