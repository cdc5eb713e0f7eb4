"""The archive's own endpoint: its metrics, and whether its process answers."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from prefect_monitoring.archive.metrics import ArchiveStatus, exposition
from prefect_monitoring.config.settings import WebSettings
from prefect_monitoring.web.auth import guards
from prefect_monitoring.web.negotiation import exposition_type


def make_archive_app(status: ArchiveStatus, web: WebSettings) -> Starlette:
    """With the same authentication as the exporter's endpoints."""

    async def metrics(request: Request) -> Response:
        body = exposition(status).body(exposition_type(request.headers.get("accept", "")))
        return Response(body.plain, headers={"Content-Type": body.content_type, "Vary": "Accept"})

    async def healthy(_: Request) -> Response:
        return PlainTextResponse("healthy\n")

    return Starlette(routes=[Route("/metrics", metrics), Route("/-/healthy", healthy)], middleware=guards(web))
