"""The TLS certificate: checked before the start, loaded again when its files are renewed."""

from __future__ import annotations

import asyncio
import logging
import ssl
from pathlib import Path
from typing import Final, NoReturn

from prefect_monitoring.config.settings import WebSettings

log = logging.getLogger(__name__)

RENEWAL_SECONDS: Final = 10


class TlsError(Exception):
    """The certificate or its key cannot be used."""


def check_pair(settings: WebSettings) -> None:
    """Raises TlsError when `tls_cert` and `tls_key` are given but are not a chain and its key."""
    if not settings.tls_cert:
        return
    for option in ("tls_cert", "tls_key"):
        _check_readable(option, getattr(settings, option))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_verify_locations(settings.tls_cert)
    except ssl.SSLError:
        raise TlsError(
            f"tls_cert: {settings.tls_cert} holds no certificate in PEM form: give the file with the chain, which"
            " begins with -----BEGIN CERTIFICATE-----"
        ) from None
    _load(context, settings)


async def keep_current(context: ssl.SSLContext | None, settings: WebSettings) -> None:
    """Loads renewed files for new connections. Logs an invalid pair once; the pair in use stays."""
    loaded = _stamp(settings)
    while context is not None:
        await asyncio.sleep(RENEWAL_SECONDS)
        stamp = _stamp(settings)
        if stamp == loaded:
            continue
        loaded = stamp
        try:
            # Checked in a separate context first: loading half a pair would leave the one in use without its key.
            check_pair(settings)
            _load(context, settings)
        except TlsError as fault:
            log.warning("The certificate on disk has changed and is invalid, the former one stays in use: %s", fault)
        else:
            log.info("The certificate on disk has changed and is in use")


def _check_readable(option: str, path: str) -> None:
    try:
        if path:
            Path(path).read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise TlsError(
            f"{option}: {path} cannot be read ({reason}): give the path of a PEM file, and let the user that runs"
            " prefect-monitoring read it"
        ) from None


def _load(context: ssl.SSLContext, settings: WebSettings) -> None:
    cert, key = settings.tls_cert, settings.tls_key or settings.tls_cert

    def refuse_password() -> NoReturn:
        # OpenSSL would ask on the terminal, and a service would wait there for ever.
        raise TlsError(f"{key} is protected by a password: store the key without one (openssl pkey -in … -out …)")

    try:
        context.load_cert_chain(cert, key, refuse_password)
    except ssl.SSLError as error:
        reasons = {
            "KEY_VALUES_MISMATCH": f"the key in {key} does not belong to the first certificate in {cert}: give the pair"
            " that was made together, with the server's own certificate first in the chain",
            None: f"{key} holds no private key in PEM form: name the file that does with tls_key",
        }
        reason = reasons.get(error.reason, f"{cert} with the key in {key} is refused ({error.reason}): renew the pair")
        raise TlsError(reason) from None
    except OSError as error:
        raise TlsError(f"{cert} or {key} cannot be read ({error.strerror})") from None


def _stamp(settings: WebSettings) -> list[tuple[int, int]]:
    stamps = []
    for path in filter(None, (settings.tls_cert, settings.tls_key)):
        try:
            status = Path(path).stat()
            stamps.append((status.st_ino, status.st_mtime_ns))
        except OSError:
            stamps.append((0, 0))
    return stamps
