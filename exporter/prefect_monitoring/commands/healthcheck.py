"""`prefect-monitoring healthcheck`: probes the exporter on this machine, so that images need no curl."""

from __future__ import annotations

import ssl
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Final

from prefect_monitoring.config.settings import WebSettings
from prefect_monitoring.config.types import host_and_port

TIMEOUT_SECONDS: Final = 5
# Where to reach an exporter that listens on all addresses.
_NEAREST: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 compared, not bound


def ask(settings: WebSettings, *, ready: bool) -> tuple[bool, str]:
    """Whether `/-/healthy` (or `/-/ready`) of the exporter with these settings answers 200, and its text."""
    host, port = host_and_port(settings.listen)
    if port == 0:
        return False, f"listen is {settings.listen}, which is any free port: give the port that is served on"
    connection = _connect(_NEAREST.get(host, host), port, tls=bool(settings.tls_cert))
    try:
        connection.request("GET", "/-/ready" if ready else "/-/healthy")
        answer = connection.getresponse()
        return answer.status == 200, answer.read(1000).decode(errors="replace").strip()  # noqa: PLR2004 OK
    except (OSError, HTTPException) as error:
        return False, f"no answer on {settings.listen}: {error or type(error).__name__}"
    finally:
        connection.close()


def _connect(host: str, port: int, *, tls: bool) -> HTTPConnection:
    """Ignores the proxies of the environment."""
    if not tls:
        return HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)
    # The certificate is not verified: it is for the public name, and an expired one is no reason for a restart. Nothing
    # secret is sent.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return HTTPSConnection(host, port, timeout=TIMEOUT_SECONDS, context=context)
