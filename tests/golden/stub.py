"""The Prefect API over HTTP on loopback: the rows of the seed at an instant."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

from golden.criteria import UnknownCriterionError, chosen
from golden.model import identity
from golden.seed import Seed

PAGE = 200
VERSION = "3.8.8"
# Endpoints of filtered lists, and the kind of their rows.
_LISTS = {
    f"/{kind}/filter": kind
    for kind in ("flows", "deployments", "flow_runs", "task_runs", "logs", "work_pools", "work_queues", "automations")
} | {"/v2/concurrency_limits/filter": "concurrency_limits"}
_FIXED: Mapping[str, tuple[int, Any]] = {
    "/csrf-token": (HTTPStatus.UNPROCESSABLE_ENTITY, {"detail": "CSRF protection is disabled."}),
    "/admin/version": (HTTPStatus.OK, VERSION),
    "/events/filter": (HTTPStatus.OK, {"events": [], "total": 0, "next_page": None}),
    "/events/count-by/resource": (HTTPStatus.OK, []),
}
_COUNTS = {"/flow_runs/count": "flow_runs", "/task_runs/count": "task_runs"}


@dataclass
class Stub:
    """`unknown` lists unsupported requests, so that the test fails instead of the exporter handling the error."""

    seed: Seed
    url: str = ""
    unknown: list[str] = field(default_factory=list)
    _rows: Mapping[str, Sequence[dict[str, Any]]] = field(default_factory=dict)
    _now: float = 0.0

    def move_to(self, now: float) -> None:
        self._now, self._rows = now, self.seed.rows(now)

    def answer(self, path: str, body: Mapping[str, Any]) -> tuple[int, Any]:
        parts = urlsplit(path.removeprefix("/api"))
        try:
            return self._answer(parts.path, {name: one[0] for name, one in parse_qs(parts.query).items()}, body)
        except UnknownCriterionError as fault:
            self.unknown.append(f"{path}: {fault}")
            return HTTPStatus.INTERNAL_SERVER_ERROR, {"detail": str(fault)}

    def _answer(self, path: str, query: Mapping[str, str], body: Mapping[str, Any]) -> tuple[int, Any]:
        if path in _FIXED:
            return _FIXED[path]
        if path in ("/flow_run_states/", "/task_run_states/"):
            owner = query[path.strip("/").removesuffix("_states") + "_id"]
            return HTTPStatus.OK, self.seed.history(owner, self._now)
        if path in _COUNTS:
            return HTTPStatus.OK, len(chosen(self._rows[_COUNTS[path]], _COUNTS[path], body))
        if path in _LISTS:
            return HTTPStatus.OK, _page(chosen(self._rows[_LISTS[path]], _LISTS[path], body), body)
        match path.strip("/").split("/"):
            case ["work_pools", pool, ("workers" | "queues") as what, "filter"]:
                rows = self._rows["workers" if what == "workers" else "work_queues"]
                pool_id = identity("work_pools", unquote(pool))
                return HTTPStatus.OK, _page([row for row in rows if row["work_pool_id"] == pool_id], body)
        raise UnknownCriterionError("no such endpoint")


def _page(rows: Sequence[Mapping[str, Any]], body: Mapping[str, Any]) -> list[dict[str, Any]]:
    limit = body.get("limit") or PAGE
    if limit > PAGE:
        raise UnknownCriterionError(f"a limit of {limit}")
    begin = body.get("offset") or 0
    # Columns that begin with an underscore are for filters alone.
    return [{name: one for name, one in row.items() if name[0] != "_"} for row in rows[begin : begin + limit]]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    stub: ClassVar[Stub]

    def do_GET(self) -> None:
        self._reply({})

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._reply(json.loads(content) if content else {})

    def _reply(self, body: Mapping[str, Any]) -> None:
        status, answer = self.stub.answer(self.path, body)
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Writes no access log."""


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Ignores clients that have disconnected."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type] # its type is not documented


@contextmanager
def serving(seed: Seed) -> Iterator[Stub]:
    stub = Stub(seed)
    handler = type("Handler", (_Handler,), {"stub": stub})
    with _Server(("127.0.0.1", 0), handler) as server:
        stub.url = f"http://127.0.0.1:{server.server_port}/api"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield stub
        finally:
            server.shutdown()
            thread.join()
