"""Authentication of the endpoints: basic, bearer, or none."""

from __future__ import annotations

import hmac
from base64 import b64encode
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Final

from starlette.authentication import AuthCredentials, AuthenticationBackend, AuthenticationError, BaseUser, SimpleUser
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, Response

from prefect_monitoring.config.settings import WebSettings
from prefect_monitoring.config.types import host_and_port

# Probes of an orchestrator send no credentials, and these pages reveal nothing about runs.
OPEN_PATHS: Final = frozenset({"/-/healthy", "/-/ready"})
CHALLENGES: Final[Mapping[str, str]] = {
    "basic": 'Basic realm="prefect-monitoring", charset="UTF-8"',
    "bearer": 'Bearer realm="prefect-monitoring"',
}
IN_CLEAR: Final = (
    "The credentials for the endpoints travel in clear: set tls_cert, or listen on a loopback address behind a proxy"
    " that speaks TLS"
)


def guards(settings: WebSettings) -> list[Middleware]:
    """The middleware that checks credentials; empty if none are configured."""
    accepted = accepted_credentials(settings)

    def refuse(_: HTTPConnection, __: AuthenticationError) -> Response:
        response = PlainTextResponse("credentials are needed\n", status_code=401)
        for scheme in accepted:
            response.headers.append("WWW-Authenticate", CHALLENGES[scheme])
        return response

    return [Middleware(AuthenticationMiddleware, backend=_Guard(accepted), on_error=refuse)] if accepted else []


def accepted_credentials(settings: WebSettings) -> dict[str, bytes]:
    """The accepted credentials by scheme of the Authorization header."""
    password, token = settings.auth_password.get_secret_value(), settings.auth_token.get_secret_value()
    credentials = {"basic": b64encode(f"{settings.auth_username}:{password}".encode()), "bearer": token.encode()}
    configured = {"basic": password, "bearer": token}
    return {scheme: expected for scheme, expected in credentials.items() if configured[scheme]}


def travel_in_clear(settings: WebSettings) -> bool:
    return bool(accepted_credentials(settings)) and not settings.tls_cert and not _is_loopback(settings.listen)


class _Guard(AuthenticationBackend):
    def __init__(self, accepted: Mapping[str, bytes]) -> None:
        self._accepted = accepted

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, BaseUser] | None:
        if conn.scope["path"] in OPEN_PATHS:
            return None
        scheme, _, given = conn.headers.get("authorization", "").partition(" ")
        expected = self._accepted.get(scheme.lower())
        # Compared as sent: nothing is decoded, so nothing can be malformed.
        if expected is None or not hmac.compare_digest(given.strip().encode(), expected):
            raise AuthenticationError
        return AuthCredentials(), SimpleUser(scheme)


def _is_loopback(listen: str) -> bool:
    host = host_and_port(listen)[0]
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
