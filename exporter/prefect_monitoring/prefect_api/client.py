"""Requests to the Prefect API over Prefect's own client: counted, throttled, with errors that say what happened.

Prefect's client supports every `PREFECT_*` setting, profiles, keys, TLS, CSRF and proxies. Its silent retries and
sleeps are prevented: the response hook raises before the client gets to them.
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from json import JSONDecodeError
from typing import Any, Final
from urllib.parse import quote

import httpx
import orjson
from aiolimiter import AsyncLimiter
from prefect.client.orchestration import PrefectClient, get_client
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from tenacity import RetryCallState, retry

from prefect_monitoring.prefect_api.address import api_address
from prefect_monitoring.prefect_api.csrf import is_csrf_business, share_csrf_token
from prefect_monitoring.prefect_api.errors import ApiError, ClientSettingsError, ThrottledError, TooLargeError
from prefect_monitoring.prefect_api.startup import proxy_of

# Only lists and counts use POST, everything else GET, so that no reading can change Prefect. Prefect's reads that write
# (get_scheduled_flow_runs marks deployments ready) are other POSTs.
_QUERIES: Final = ("/filter", "/count", "/count-by/resource")
SHORT_WAIT_SECONDS: Final = 5.0
MAX_TRIES: Final = 3
# A decoded answer takes several times the memory; the largest single row that Prefect allows is far smaller.
MAX_ANSWER_BYTES: Final = 12 * 2**20
TRANSIENT_CODES: Final = frozenset({"502", "503"})
TRANSIENT_WAIT_SECONDS: Final = 0.3
# Prefect's server closes the connection after a 500. A request on it would fail, and Prefect's client sleep for 2 s.
CLOSING_SECONDS: Final = 0.05
_UNANSWERED: Final = "prefect_monitoring_unanswered"
_KEEPS_METHOD: Final = 307
_TOO_MANY: Final = "429"
_BAD_REQUEST: Final = 400
_HINTS: Final[Mapping[int, str]] = {
    401: "Prefect refuses the credentials: check PREFECT_API_KEY or PREFECT_API_AUTH_STRING",
    403: "the credentials lack the right to do this: give the key or user that access to the workspace",
    404: "not found: check that PREFECT_API_URL ends in /api (or names the Cloud account and workspace)",
    422: "the server does not understand the request: Prefect 3.4.20 is the oldest that is supported",
}
# With the same text for every endpoint, so that it is one outage and one line in the log and in `check`.
_WHOLE_API: Final = frozenset({401, 502, 503, 504})
_PAUSED: Final = "the API asked for a pause (429 or Retry-After)"


@dataclass(slots=True)
class Traffic:
    """Requests since the start of the process, by (endpoint, code), and how often the API asked for a pause."""

    requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    throttled: int = 0


def _is_worth_another_try(state: RetryCallState) -> bool:
    """Retry after a short pause that the API asked for; once after an error that a lock of SQLite may have caused."""
    fault = state.outcome.exception() if state.outcome else None
    if isinstance(fault, ThrottledError):
        return fault.seconds <= SHORT_WAIT_SECONDS and state.attempt_number < MAX_TRIES
    return isinstance(fault, ApiError) and fault.code in TRANSIENT_CODES and state.attempt_number == 1


def _was_turned_away(state: RetryCallState) -> bool:
    """Retry a write only after 429, which says that it was not carried out."""
    fault = state.outcome.exception() if state.outcome else None
    return isinstance(fault, ThrottledError) and fault.code == _TOO_MANY and _is_worth_another_try(state)


def _wait_before_next_try(state: RetryCallState) -> float:
    """No extra wait after a pause that the API asked for: all requests wait for its end anyway."""
    paused = state.outcome is not None and isinstance(state.outcome.exception(), ThrottledError)
    return 0.0 if paused else TRANSIENT_WAIT_SECONDS


class PrefectHttp:
    """Sends requests that only read, and the writes that `open_http` allowed."""

    def __init__(
        self,
        client: PrefectClient,
        limiter: AsyncLimiter,
        traffic: Traffic,
        writes: Collection[tuple[str, str]] = (),
        *,
        has_proxy: bool = False,
    ) -> None:
        self._client = client
        self._has_proxy = has_proxy
        self._limiter = limiter
        self._traffic = traffic
        self._writes = writes
        self._paused_until = 0.0

    async def request(
        self,
        endpoint: str,
        *,
        json: object = None,
        params: Mapping[str, str] | None = None,
        names: Mapping[str, str] | None = None,
    ) -> Any:
        """The decoded answer of a read: lists, dicts, numbers or text, as Prefect's API returns it.

        Raises as `sized` does.
        """
        answer, _ = await self.sized(endpoint, json=json, params=params, names=names)
        return answer

    @retry(retry=_is_worth_another_try, wait=_wait_before_next_try, reraise=True)
    async def sized(
        self,
        endpoint: str,
        *,
        json: object = None,
        params: Mapping[str, str] | None = None,
        names: Mapping[str, str] | None = None,
    ) -> tuple[Any, int]:
        """The same, and its size in bytes.

        `names` replace the names in braces in `endpoint`; traffic is counted without them. An error that may pass
        within seconds is retried. Raises ApiError; ThrottledError when the API asks for a longer pause; ValueError for
        an endpoint with a body that is neither a list nor a count.
        """
        method = "POST" if endpoint.endswith(_QUERIES) else "GET"
        if method == "GET" and json is not None:
            raise ValueError(f"{endpoint} is no list and no count: reading it with a body might change something")
        await self._wait_out_pause()
        await self._limiter.acquire()
        await self._wait_out_pause()  # a pause may have begun while this request waited
        return await self._send(method, endpoint, json, params, names or {})

    @retry(retry=_was_turned_away, wait=_wait_before_next_try, reraise=True)
    async def write(
        self, method: str, endpoint: str, *, json: object = None, names: Mapping[str, str] | None = None
    ) -> Any:
        """The decoded answer, None for an empty one.

        Only throttled requests are retried: after other errors it is unknown whether the write was carried out.
        Raises ApiError and ThrottledError as `request`, ValueError for a write that this client may not send.
        """
        if (method, endpoint) not in self._writes:
            raise ValueError(f"{method} {endpoint} is not among the writes that this client may send")
        await self._wait_out_pause()
        await self._limiter.acquire()
        answer, _ = await self._send(method, endpoint, json, None, names or {})
        return answer

    def _pause(self, seconds: float) -> None:
        """Starts a pause; refusals during a pause belong to it."""
        now = time.monotonic()
        self._traffic.throttled += now >= self._paused_until
        self._paused_until = max(self._paused_until, now + seconds)

    async def _wait_out_pause(self) -> None:
        while (pause := self._paused_until - time.monotonic()) > 0:
            if pause > SHORT_WAIT_SECONDS:
                raise ThrottledError(_PAUSED, "throttled", pause)
            await asyncio.sleep(pause)

    async def _send(
        self, method: str, endpoint: str, json: object, params: Mapping[str, str] | None, names: Mapping[str, str]
    ) -> tuple[Any, int]:
        code = "error"
        path = endpoint.format_map({key: _segment(name) for key, name in names.items()})
        try:
            response = await self._client.request(method, path, json=json, params=params)  # type: ignore[arg-type]
            code = str(response.status_code)
            if response.status_code >= _BAD_REQUEST:
                raise ApiError(_explain(response.status_code, endpoint), code)
            content = response.content
            return None if response.status_code == httpx.codes.NO_CONTENT else orjson.loads(content), len(content)
        except JSONDecodeError:
            code = "invalid_json"
            raise ApiError(f"{endpoint} answered something that is not JSON", code) from None
        except ValueError:  # Prefect's client could not make sense of a CSRF token
            code = "invalid_json"
            raise ApiError(f"{endpoint}: the API answered something of another shape than Prefect's", code) from None
        except httpx.TimeoutException:
            code = "timeout"
            raise ApiError(f"{endpoint} did not answer in time", code) from None
        except httpx.HTTPStatusError as error:
            code = str(error.response.status_code)
            raise ApiError(_explain(error.response.status_code, endpoint), code) from None
        except httpx.HTTPError as error:
            raise ApiError(unreachable(error, has_proxy=self._has_proxy), code) from None
        except ApiError as error:
            code = error.code
            if isinstance(error, ThrottledError):
                self._pause(error.seconds)
            raise
        except asyncio.CancelledError:
            code = "timeout"
            raise
        finally:
            self._traffic.requests[endpoint, code] += 1


@asynccontextmanager
async def open_http(
    traffic: Traffic, max_requests_per_second: float, writes: Collection[tuple[str, str]] = ()
) -> AsyncIterator[PrefectHttp]:
    """A client for the API that Prefect's settings name. Raises NoApiUrlError without one.

    `writes`: the (method, endpoint) pairs that it may send besides reads, from `actions.py`; none by default.
    """
    address = api_address()
    burst = max(1.0, max_requests_per_second)
    limiter = AsyncLimiter(burst, burst / max_requests_per_second)
    # One retry, which renewal of the CSRF token needs. The hooks below prevent it for other answers and for writes.
    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 1}):
        async with _make_client(address) as client:
            share_csrf_token(client)
            has_proxy = proxy_of(address, os.environ) is not None
            yield PrefectHttp(client, limiter, traffic, writes, has_proxy=has_proxy)


def _make_client(address: str) -> PrefectClient:
    """Prefect's client. Raises NoApiUrlError for settings that httpx does not accept.

    The proxy is chosen here, because httpx fails on networks and IPv6 addresses in NO_PROXY.
    """
    settings = {
        "event_hooks": {"request": [_refuse_repeated_write], "response": [_take_answer]},
        "trust_env": False,
        "proxy": proxy_of(address, os.environ),
    }
    try:
        return get_client(httpx_settings=settings)
    except (ValueError, TypeError, OSError, ImportError, RuntimeError, httpx.InvalidURL) as error:
        what = str(error).split("://")[0].partition("\n")[0]
        raise ClientSettingsError(
            f"Prefect's client cannot be built with these settings ({type(error).__name__}: {what}): check"
            " PREFECT_API_URL, PREFECT_CLIENT_CUSTOM_HEADERS, PREFECT_API_SSL_CERT_FILE and HTTPS_PROXY"
        ) from None


def _segment(name: str) -> str:
    """A name as one path segment, with everything escaped; `..` would lead elsewhere."""
    return quote(name, safe="").replace(".", "%2E")


async def _refuse_repeated_write(request: httpx.Request) -> None:
    """Raises ApiError where Prefect's client would repeat a write that got no answer.

    By then the state of its run may have changed several times.
    """
    if request.method == "GET" or request.url.path.endswith(_QUERIES):
        return
    if _UNANSWERED in request.extensions:
        raise ApiError(f"{request.url.path} got no answer: it may have been carried out", "error")
    request.extensions[_UNANSWERED] = True


async def _take_answer(response: httpx.Response) -> None:
    """Reads the answer. Raises ApiError for an error status."""
    response.request.extensions.pop(_UNANSWERED, None)
    body = await _read(response)
    # It refers to the response, a cycle that would keep pages in memory until garbage collection.
    response.stream = httpx.ByteStream(b"")
    if response.has_redirect_location and response.request.method == "POST" and response.status_code < _KEEPS_METHOD:
        # If followed, the POST would become a GET, whose answer is not a list of runs.
        where = f"{response.request.url.path} is redirected elsewhere ({response.status_code})"
        hint = "give PREFECT_API_URL the address that it leads to (https instead of http, a login page?)"
        raise ApiError(f"{where}: {hint}", str(response.status_code))
    if response.status_code < _BAD_REQUEST:
        return
    if is_csrf_business(response, body):
        return
    code, endpoint = str(response.status_code), response.request.url.path
    retry_after = response.headers.get("Retry-After")
    if response.status_code == httpx.codes.TOO_MANY_REQUESTS or retry_after is not None:
        seconds = _retry_after_seconds(retry_after)
        raise ThrottledError(_PAUSED, code, seconds)
    if response.status_code >= httpx.codes.INTERNAL_SERVER_ERROR:
        await asyncio.sleep(CLOSING_SECONDS)
    raise ApiError(_explain(response.status_code, endpoint), code, detail=body)


async def _read(response: httpx.Response) -> bytes:
    """The body. Raises TooLargeError, and stops reading, after `MAX_ANSWER_BYTES`."""
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.aiter_bytes():
        chunks.append(chunk)
        size += len(chunk)
        if size > MAX_ANSWER_BYTES:
            await response.aclose()
            endpoint = response.request.url.path
            raise TooLargeError(f"{endpoint} answered more than {MAX_ANSWER_BYTES // 2**20} MiB", "too_large")
    # As aread() does, because Prefect's client reads it too.
    response._content = b"".join(chunks)  # noqa: SLF001 no public way
    return response.content


def _retry_after_seconds(header: str | None) -> float:
    """Retry-After as seconds or as an HTTP date; a short wait without one, a minute where it cannot be read."""
    if header is None:
        return SHORT_WAIT_SECONDS
    try:
        seconds = float(header)
        return 60.0 if math.isnan(seconds) else min(max(seconds, 0.0), 3600.0)
    except ValueError:
        pass
    try:
        return min(max(parsedate_to_datetime(header).timestamp() - time.time(), 0.0), 3600.0)
    except ValueError:
        return 60.0


def _explain(status: int, endpoint: str) -> str:
    hint = _HINTS.get(
        status, "the server failed; its own log says why" if status >= httpx.codes.INTERNAL_SERVER_ERROR else ""
    )
    who = "the API" if status in _WHOLE_API else endpoint
    return f"{who} answered {status}{': ' + hint if hint else ''}"


# Texts of failed connections, and their usual meaning.
_CONNECTION_FAULTS: Final = (
    ("WRONG_VERSION_NUMBER", "PREFECT_API_URL says https, and the server speaks http: give http://"),
    ("record layer failure", "PREFECT_API_URL says https, and the server speaks http: give http://"),
    (
        "CERTIFICATE_VERIFY_FAILED",
        "the server's certificate is not trusted: name its authority with PREFECT_API_SSL_CERT_FILE",
    ),
    ("Name or service not known", "its host name is not known: correct PREFECT_API_URL, or the name server"),
    ("Temporary failure in name resolution", "its host name cannot be looked up: check the name server"),
    ("All connection attempts failed", "nothing listens there: start the Prefect server, or correct PREFECT_API_URL"),
    ("Connection refused", "nothing listens there: start the Prefect server, or correct PREFECT_API_URL"),
    ("disconnected without sending", "PREFECT_API_URL says http, and the server may speak https: give https://"),
)


_PROXY_FAULT: Final = (
    "the proxy is not there, or does not let requests through: correct HTTP_PROXY, HTTPS_PROXY or ALL_PROXY, or name"
    " the API's host in NO_PROXY"
)


def unreachable(error: httpx.HTTPError, *, has_proxy: bool = False) -> str:
    """Why the API could not be reached, and what to do about it where known."""
    meaning = next((meaning for text, meaning in _CONNECTION_FAULTS if text in str(error)), "")
    if has_proxy and isinstance(error, (httpx.ConnectError, httpx.ProxyError)) and "certificate" not in meaning:
        meaning = _PROXY_FAULT
    what = f"{type(error).__name__}: {_reason(error)}"
    return f"the API could not be reached: {meaning} ({what})" if meaning else f"the API could not be reached ({what})"


def _reason(error: httpx.HTTPError) -> str:
    """The error's text without URLs, which may contain secrets."""
    return str(error).split("://")[0] or "no details"
