"""A real HTTP server on the loopback with scripted answers that records its requests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    headers: Mapping[str, str]
    body: Any


@dataclass(frozen=True)
class Answer:
    status: int = 200
    body: Any = field(default_factory=list)
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0.0
    closes_after: float | None = None  # seconds between the answer and the end of the connection


@dataclass
class Loopback:
    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    answer: Callable[[Asked], Answer | Awaitable[Answer]] = lambda _: Answer()

    def asked_for(self, end: str) -> list[Asked]:
        return [request for request in self.asked if request.path.split("?")[0].endswith(end)]

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode().split("\r\n")
                method, path, _ = lines[0].split(" ")
                headers = {
                    name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:] if line)
                }
                raw = await reader.readexactly(int(headers.get("content-length", "0")))
                asked = Asked(method, path, headers, json.loads(raw) if raw else None)
                if "/csrf-token" in path:
                    answer = Answer(422, {"detail": "CSRF protection is disabled."})
                else:
                    self.asked.append(asked)
                    answer = self.answer(asked)  # type: ignore[assignment]
                    if not isinstance(answer, Answer):
                        answer = await answer
                await asyncio.sleep(answer.delay)
                body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
                lines = [f"HTTP/1.1 {answer.status} X", f"Content-Length: {len(body)}"]
                lines += [f"{name}: {value}" for name, value in answer.headers.items()]
                writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
                await writer.drain()
                if answer.closes_after is not None:
                    await asyncio.sleep(answer.closes_after)
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def loopback() -> AsyncIterator[Loopback]:
    site = Loopback()
    server = await asyncio.start_server(site.handle, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    site.url = f"http://{host}:{port}/api"
    try:
        yield site
    finally:
        server.close()
