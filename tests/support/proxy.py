"""A real HTTP server in front of Prefect's, with faults that can be switched on and a record of its requests.

HTTP only: websockets are refused.
"""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx
import uvicorn
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from support.ports import free_port
from support.processes import wait_until

# These belong to one connection, or are computed again for the other.
_PER_HOP = {
    "connection",
    "keep-alive",
    "transfer-encoding",
    "content-length",
    "upgrade",
    "te",
    "trailer",
    "date",
    "server",
}


@dataclass
class Seen:
    """A request that arrived. `path` is relative to the API; `status` is None while, or if never, answered."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    at: float  # time.monotonic()
    status: int | None = None
    seconds: float | None = None
    answered_bytes: int = 0

    @property
    def size(self) -> int:
        return len(self.body)

    @property
    def json(self) -> Any:
        """The body decoded; None if it is empty."""
        return json.loads(self.body) if self.body else None


class DropConnection(Exception):  # noqa: N818
    """Close the connection after sending `part`, a truncated response body."""

    def __init__(self, part: bytes | None = None) -> None:
        super().__init__()
        self.part = part


@dataclass
class Fault:
    """A kind of fault, and the requests that it hits.

    Requests match if their path starts with `path` and `when` is true; of these, the first `after` pass, and then
    `times` fail (None: all).
    """

    kind: str
    path: str = "/"
    when: Callable[[Seen], bool] | None = None
    after: int = 0
    times: int | None = None
    code: int = 503
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    seconds: float = 0.0
    change: Callable[[bytes], bytes] = bytes
    matched: int = 0

    def strikes(self, seen: Seen) -> bool:
        if not seen.path.startswith(self.path) or (self.when and not self.when(seen)):
            return False
        self.matched += 1
        return self.matched > self.after and (self.times is None or self.matched <= self.after + self.times)


Draw = Callable[[Seen], Fault | None]
"""Returns the fault of a request, if any."""


class FaultProxy:
    """Forwards to `target_url` (an API URL) from a separate port; `url` is its API URL. A context manager.

    Every fault takes the keywords of Fault: path, when, after, times. Of several that match, the last one added counts.
    """

    def __init__(self, target_url: str) -> None:
        parts = urlsplit(target_url)
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._root = parts.path.rstrip("/")
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}{self._root}"
        self.requests: list[Seen] = []
        self._faults: list[Fault] = []
        self._draw: Draw | None = None
        self._mistakes: list[Exception] = []
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()

    # --- faults ----------------------------------------------------------------------------------------------------

    def status(
        self,
        code: int,
        *,
        headers: Mapping[str, str] | None = None,
        body: str | bytes = b"",
        **on: Any,
    ) -> Fault:
        """Answer with this, without forwarding to Prefect."""
        content = body.encode() if isinstance(body, str) else body
        return self._add(Fault("status", code=code, headers=headers or {}, body=content, **on))

    def invalid_json(self, body: str = '{"not": json', **on: Any) -> Fault:
        """200, and something that is not JSON."""
        return self.status(200, headers={"content-type": "application/json"}, body=body, **on)

    def hang(self, **on: Any) -> Fault:
        """Take the request and never answer."""
        return self._add(Fault("hang", **on))

    def slow(self, seconds: float, **on: Any) -> Fault:
        """Answer properly, but late."""
        return self._add(Fault("slow", seconds=seconds, **on))

    def drop(self, **on: Any) -> Fault:
        """Close the connection instead of answering."""
        return self._add(Fault("drop", **on))

    def truncate(self, **on: Any) -> Fault:
        """Let Prefect answer, and close the connection in the middle of its body."""
        return self._add(Fault("truncate", **on))

    def alter(self, change: Callable[[bytes], bytes], **on: Any) -> Fault:
        """Let Prefect answer, and change the body of its answer if it is a 200."""
        return self._add(Fault("alter", change=change, **on))

    def at_random(self, draw: Draw) -> None:
        """Call `draw` for each request that no other fault hits."""
        self._draw = draw

    def fail_when(self, predicate: Callable[[Seen], bool], code: int = 503, **on: Any) -> Fault:
        return self.status(code, when=predicate, **on)

    def clear(self) -> None:
        """Remove all faults. Hanging requests stay so until their client disconnects, as in reality."""
        self._faults, self._draw = [], None

    def forget(self) -> None:
        """Empty the list of requests."""
        self.requests = []

    def refuse(self) -> None:
        """Stop listening until `accept`: connection refused. Closes open connections."""
        self._stop()

    def accept(self) -> None:
        """Listen again, on the same port."""
        self._start()

    def paths(self) -> list[str]:
        return [f"{seen.method} {seen.path}" for seen in self.requests]

    def _add(self, fault: Fault) -> Fault:
        self._faults = [fault, *self._faults]
        return fault

    # --- start and stop --------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop()
        if self._mistakes and not error:
            raise self._mistakes[0]

    def _start(self) -> None:
        if self._thread:
            return
        config = uvicorn.Config(
            self._app,
            host="127.0.0.1",
            port=self._port,
            interface="asgi3",  # detection would take a bound method for an older version
            lifespan="off",
            ws="none",
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=5,  # as Prefect's
            timeout_graceful_shutdown=1,
        )
        server = self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(server)), name="proxy", daemon=True)
        self._thread.start()
        wait_until(lambda: server.started, 60, "the proxy to listen", every=0.01)

    async def _serve(self, server: uvicorn.Server) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=20, keepalive_expiry=2)
        async with httpx.AsyncClient(timeout=60, limits=limits, trust_env=False) as self._upstream:
            await server.serve()

    def _stop(self) -> None:
        if not self._thread or not self._server or not self._loop:
            return
        self._server.should_exit = True
        with suppress(RuntimeError):  # the loop has closed already
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(5)
        if self._thread.is_alive():
            raise RuntimeError("the proxy does not stop")
        self._thread = self._server = self._loop = None

    # --- a request -------------------------------------------------------------------------------------------------

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        path = scope["raw_path"].decode()
        try:
            body = await request.body()
        except ClientDisconnect:
            return
        seen = Seen(
            request.method,
            path.removeprefix(self._root),
            scope["query_string"].decode(),
            request.headers,
            body,
            time.monotonic(),
        )
        self.requests.append(seen)
        try:
            response = await self._answer(seen, path, receive)
        except DropConnection as drop:
            await _cut_off(send, drop.part)
            return
        except Exception as error:  # a predicate's or ours: uvicorn would hide it in a 500
            self._mistakes.append(error)
            raise
        seen.status, seen.answered_bytes = response.status_code, len(response.body)
        seen.seconds = time.monotonic() - seen.at
        await response(scope, receive, send)

    async def _answer(self, seen: Seen, path: str, receive: Receive) -> Response:
        fault = next((fault for fault in self._faults if fault.strikes(seen)), None)
        if fault is None and self._draw is not None:
            fault = self._draw(seen)
        match fault.kind if fault else "":
            case "status":
                assert fault
                return Response(fault.body, fault.code, dict(fault.headers))
            case "hang":
                await self._pause(None, receive)
                raise DropConnection
            case "slow":
                assert fault
                if await self._pause(fault.seconds, receive):
                    raise DropConnection
            case "drop":
                raise DropConnection
            case "truncate":
                whole = bytes((await self._forward(seen, path)).body)
                raise DropConnection(whole[: len(whole) // 2])
            case "alter":
                assert fault
                answer = await self._forward(seen, path, compressed=False)
                if answer.status_code != httpx.codes.OK:
                    return answer
                return Response(fault.change(bytes(answer.body)), media_type="application/json")
        return await self._forward(seen, path)

    async def _pause(self, seconds: float | None, receive: Receive) -> bool:
        """Wait; true if the client left or the proxy stopped before the time was over."""
        ends = {asyncio.ensure_future(self._stopping.wait()), asyncio.ensure_future(_gone(receive))}
        done, waiting = await asyncio.wait(ends, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        return bool(done)

    async def _forward(self, seen: Seen, path: str, *, compressed: bool = True) -> Response:
        target = f"{self._origin}{path}" + (f"?{seen.query}" if seen.query else "")
        headers = {
            name: value for name, value in seen.headers.items() if name not in _PER_HOP
        }  # keeps Host: its links lead here
        if not compressed:
            headers["accept-encoding"] = "identity"
        request = self._upstream.build_request(seen.method, target, headers=headers, content=seen.body)
        try:
            answer = await self._upstream.send(request, stream=True)
            content = b"".join([chunk async for chunk in answer.aiter_raw()])  # as it is, compressed or not
            await answer.aclose()
        except httpx.HTTPError as error:
            return Response(f"upstream: {error!r}", 502)
        response = Response(content, answer.status_code)
        for name, value in _end_to_end(answer.headers):
            response.headers.append(name, value)
        return response


def _end_to_end(headers: httpx.Headers) -> Iterator[tuple[str, str]]:
    return ((name, value) for name, value in headers.multi_items() if name.lower() not in _PER_HOP)


async def _cut_off(send: Send, part: bytes | None) -> None:
    if part is not None:
        head = [(b"content-type", b"application/json"), (b"content-length", b"%d" % (2 * len(part) + 2))]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": part, "more_body": True})
    send.__self__.transport.close()  # type: ignore[attr-defined]  # uvicorn's; ASGI has no word for it


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
