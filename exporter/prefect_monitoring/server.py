"""HTTP: the bytes of the latest snapshot, and whether they can be trusted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from html import escape
from typing import Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from prefect_monitoring.auth import guards
from prefect_monitoring.exposition import Body, Exposition, accepted, render
from prefect_monitoring.metrics import shown_metrics
from prefect_monitoring.settings import Settings
from prefect_monitoring.snapshot import Snapshot
from prefect_monitoring.sources import SourceStatus

# A poll that hangs in one reading after the other still publishes in between; silence this long is a dead loop.
DEAD_AFTER_POLLS: Final = 5


class Published:
    """The latest snapshot and its bytes; replaced as a whole, so that a scrape never sees half of one."""

    def __init__(self, settings: Settings) -> None:
        self._metrics = shown_metrics(settings.metrics_on, settings.metrics_off)
        self._asked: set[str] = set()
        self.latest: tuple[Snapshot, Exposition] | None = None

    def publish(self, snapshot: Snapshot) -> None:
        exposition = render(snapshot, self._metrics)
        # What a scraper asked for once it will ask for again: it shall not wait for it.
        for content_type in tuple(self._asked):
            exposition.body(content_type)
        self.latest = snapshot, exposition

    async def body(self, exposition: Exposition, accept: str) -> Body:
        content_type = accepted(accept)
        if content_type in self._asked:
            return exposition.body(content_type)
        made = await asyncio.to_thread(exposition.body, content_type)
        self._asked.add(content_type)
        return made


def make_app(published: Published, settings: Settings, clock: Callable[[], float] = time.time) -> Starlette:
    dead_after = DEAD_AFTER_POLLS * (settings.poll_interval + settings.source_timeout)

    async def metrics(request: Request) -> Response:
        if published.latest is None:
            return PlainTextResponse("starting\n", status_code=503)
        body = await published.body(published.latest[1], request.headers.get("accept", ""))
        headers = {"Content-Type": body.content_type, "Vary": "Accept, Accept-Encoding"}
        if _accepts_gzip(request.headers.get("accept-encoding", "")):
            return Response(body.gzipped, headers={**headers, "Content-Encoding": "gzip"})
        return Response(body.plain, headers=headers)

    async def healthy(_: Request) -> Response:
        if published.latest is not None and clock() - published.latest[0].taken_at > dead_after:
            return PlainTextResponse("polling has stopped: restart the process\n", status_code=503)
        return PlainTextResponse("healthy\n")

    async def ready(_: Request) -> Response:
        faults = published.latest[0].health.not_ready if published.latest else ("starting",)
        if faults:
            return PlainTextResponse("not ready: " + "; ".join(faults) + "\n", status_code=503)
        return PlainTextResponse("ready\n")

    async def landing(_: Request) -> Response:
        return HTMLResponse(_landing(published.latest[0] if published.latest else None))

    return Starlette(
        routes=[
            Route("/metrics", metrics),
            Route("/-/healthy", healthy),
            Route("/-/ready", ready),
            Route("/", landing),
        ],
        middleware=guards(settings),
    )


def _accepts_gzip(header: str) -> bool:
    for part in header.split(","):
        coding, _, weight = part.partition(";")
        if coding.strip().lower() == "gzip":
            return weight.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False


_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>prefect-monitoring</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 52rem; margin: 2rem auto; padding: 0 1rem; color: #1b2330; }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #d9dee7; vertical-align: top; }}
.ok {{ color: #14713d; }} .bad {{ color: #b3261e; font-weight: 600; }} .number {{ text-align: right; }}
@media (prefers-color-scheme: dark) {{
  body {{ background: #12161d; color: #e6e9ef; }} th, td {{ border-color: #333b48; }} a {{ color: #8ab4f8; }}
  .ok {{ color: #6fd596; }} .bad {{ color: #ff8a80; }}
}}
</style></head><body>
<h1>prefect-monitoring</h1>
<p>{status}</p>
<p><a href="metrics">Metrics</a> · <a href="-/ready">Ready?</a> · <a href="-/healthy">Healthy?</a></p>
<table><thead><tr><th>Source</th><th>State</th>
<th class="number">Records</th><th class="number">Last read</th></tr></thead>
<tbody>{rows}</tbody></table>
</body></html>
"""


def _landing(snapshot: Snapshot | None) -> str:
    if snapshot is None:
        return _PAGE.format(status="Starting.", rows="")
    about = snapshot.about
    answers = {True: ("ok", "answers"), False: ("bad", "does not answer"), None: ("ok", "is being asked")}
    api = '<span class="{}">{}</span>'.format(*answers[about.api_up])
    ready = "".join(f'<br><span class="bad">Not ready: {escape(fault)}</span>' for fault in snapshot.health.not_ready)
    status = (
        f"Version {escape(about.version)}. The Prefect API {api}. {len(snapshot.standings)} flow and deployment pairs,"
        f" {sum(map(len, snapshot.series.values()))} kept series.{ready}"
    )
    return _PAGE.format(status=status, rows="".join(_row(source, snapshot.taken_at) for source in about.sources))


def _row(source: SourceStatus, now: float) -> str:
    kind = "bad" if source.up is False else "ok"
    state = f'<td class="{kind}">{escape(source.error or "read")}</td>'
    last = f"{now - source.last_success:.0f} s ago" if source.last_success is not None else "never"
    return (
        f'<tr><td>{escape(source.name)}</td>{state}<td class="number">{source.records}</td>'
        f'<td class="number">{last}</td></tr>'
    )
