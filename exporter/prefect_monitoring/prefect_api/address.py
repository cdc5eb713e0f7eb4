"""The address of the Prefect API."""

from __future__ import annotations

from typing import Final

import httpx
from prefect.settings import PREFECT_API_URL, PREFECT_UI_URL

from prefect_monitoring.prefect_api.errors import NoApiUrlError

_PORTS: Final = range(1, 65536)


def api_address() -> str:
    """The configured API address without credentials or a trailing slash. Raises NoApiUrlError without one."""
    address = PREFECT_API_URL.value()
    if not address:
        raise NoApiUrlError
    if found := public_address(address):
        return found
    # Not shown: in an invalid URL, a password cannot be recognized.
    raise NoApiUrlError("The Prefect API address is not an http:// or https:// URL")


def public_address(address: str) -> str:
    """An http(s) address without credentials or a trailing slash; "" for anything else."""
    try:
        url = httpx.URL(address)
    except httpx.InvalidURL:
        return ""
    is_whole = url.scheme in {"http", "https"} and url.host and not any(map(str.isspace, address.strip()))
    if not is_whole or (url.port is not None and url.port not in _PORTS):
        return ""
    return str(url.copy_with(userinfo=b"")).rstrip("/")


def watched_address() -> str:
    """The configured API address without credentials; "" if not configured."""
    return public_address(PREFECT_API_URL.value() or "")


def ui_address() -> str:
    """The UI address of Prefect's own settings, without credentials; "" if it is not an http(s) address."""
    return public_address(PREFECT_UI_URL.value() or "")
