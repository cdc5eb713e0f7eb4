"""One CSRF token for all requests of Prefect's client, and which answers only concern tokens."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
from prefect.client.orchestration import PrefectClient


def share_csrf_token(client: PrefectClient) -> None:
    """Lets concurrent requests share one CSRF token.

    Prefect's client would fetch a token for each request, and the server accepts only the last one: the other requests
    would be refused at every start and every hour.
    """
    http: Any = client._client  # noqa: SLF001 no public way
    add_headers = getattr(http, "_add_csrf_headers", None)
    if add_headers is None:
        return
    lock = asyncio.Lock()
    latest: str | None = None
    failed_at, fault = 0.0, Exception()

    async def add_shared_headers(request: httpx.Request) -> None:
        nonlocal latest, failed_at, fault
        refused, asked_at = request.headers.get("Prefect-Csrf-Token"), time.monotonic()
        async with lock:
            if failed_at > asked_at:
                raise fault  # so that requests do not wait for the outage one after the other
            if refused is not None and refused != latest:
                http.csrf_token = latest  # another request has renewed it meanwhile
            try:
                await add_headers(request=request)
            except Exception as error:
                failed_at, fault = time.monotonic(), error
                raise
            latest = http.csrf_token

    http._add_csrf_headers = add_shared_headers  # noqa: SLF001 same


def is_csrf_business(response: httpx.Response, body: bytes) -> bool:
    """Whether Prefect's client handles the answer itself: a token to renew, or a server without tokens (422)."""
    if response.request.url.path.endswith("/csrf-token"):
        return response.status_code == httpx.codes.UNPROCESSABLE_ENTITY
    return response.status_code == httpx.codes.FORBIDDEN and b"CSRF" in body
