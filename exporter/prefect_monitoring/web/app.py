"""The HTTP app: metrics of the latest snapshot, probes, status page and runbooks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from prefect_monitoring.config.settings import MetricSettings, PollSettings, WebSettings
from prefect_monitoring.metrics import metrics_of
from prefect_monitoring.snapshot.freshness import current_limit
from prefect_monitoring.snapshot.model import Snapshot
from prefect_monitoring.web.auth import guards
from prefect_monitoring.web.exposition import Body, Exposition, render
from prefect_monitoring.web.negotiation import accepts_gzip, exposition_type
from prefect_monitoring.web.runbooks import runbook_routes
from prefect_monitoring.web.status_page.document import CONTENT_TYPE as JSON
from prefect_monitoring.web.status_page.document import HEADERS as DOCUMENT_HEADERS
from prefect_monitoring.web.status_page.document import render_document
from prefect_monitoring.web.status_page.page import HEADERS, RELOAD_SECONDS, StatusPage

# A poll whose readings all time out still publishes between them; silence for this long means a dead loop.
DEAD_AFTER_POLLS: Final = 5


class Published:
    """The latest snapshot and its bytes; replaced as a whole, so that a scrape never sees half of one."""

    def __init__(self, settings: MetricSettings) -> None:
        self._metrics = metrics_of(settings)
        self._requested: set[str] = set()
        self.latest: tuple[Snapshot, Exposition] | None = None

    async def take(self, snapshot: Snapshot) -> None:
        """Scrapes get `snapshot` once this returns. It is rendered in a thread; until then they get the one before."""
        await asyncio.to_thread(self.publish, snapshot)

    def publish(self, snapshot: Snapshot) -> None:
        exposition = render(snapshot, self._metrics)
        # Formats that were requested before are rendered now, so that scrapes need not wait.
        for content_type in tuple(self._requested):
            exposition.body(content_type)
        self.latest = snapshot, exposition

    async def body(self, exposition: Exposition, accept: str) -> Body:
        content_type = exposition_type(accept)
        if content_type in self._requested:
            return exposition.body(content_type)
        body = await asyncio.to_thread(exposition.body, content_type)
        self._requested.add(content_type)
        return body


def make_app(
    published: Published, web: WebSettings, poll: PollSettings, clock: Callable[[], float] = time.time
) -> Starlette:
    page = StatusPage(current_limit(poll))
    document = StatusPage(current_limit(poll), render_document, JSON)
    dead_after = DEAD_AFTER_POLLS * (poll.poll_interval + poll.source_timeout)

    async def metrics(request: Request) -> Response:
        if published.latest is None:
            return PlainTextResponse("starting\n", status_code=503)
        body = await published.body(published.latest[1], request.headers.get("accept", ""))
        return _response(request, body, {"Vary": "Accept, Accept-Encoding"})

    async def healthy(_: Request) -> Response:
        if published.latest is not None and clock() - published.latest[0].taken_at > dead_after:
            return PlainTextResponse("polling has stopped: restart the process\n", status_code=503)
        return PlainTextResponse("healthy\n")

    async def ready(_: Request) -> Response:
        faults = published.latest[0].health.not_ready if published.latest else ("starting",)
        if faults:
            return PlainTextResponse("not ready: " + "; ".join(faults) + "\n", status_code=503)
        return PlainTextResponse("ready\n")

    async def status_page(request: Request) -> Response:
        body = await page.of(published.latest[0] if published.latest else None, clock())
        headers = {**HEADERS, "Vary": "Accept-Encoding"}
        # Only on request: reloading interrupts people who use a screen reader or have zoomed in.
        if request.query_params.get("reload") == str(RELOAD_SECONDS):
            headers["Refresh"] = str(RELOAD_SECONDS)
        return _response(request, body, headers)

    async def status_document(request: Request) -> Response:
        body = await document.of(published.latest[0] if published.latest else None, clock())
        response = _response(request, body, {**DOCUMENT_HEADERS, "Vary": "Accept-Encoding"})
        response.status_code = 200 if published.latest else 503
        return response

    return Starlette(
        routes=[
            Route("/metrics", metrics),
            Route("/-/healthy", healthy),
            Route("/-/ready", ready),
            Route("/", status_page),
            *runbook_routes(),
            Route("/api/v1/status", status_document),
        ],
        middleware=guards(web),
    )


def _response(request: Request, body: Body, headers: dict[str, str]) -> Response:
    headers = {"Content-Type": body.content_type, **headers}
    if accepts_gzip(request.headers.get("accept-encoding", "")):
        return Response(body.gzipped, headers={**headers, "Content-Encoding": "gzip"})
    return Response(body.plain, headers=headers)
