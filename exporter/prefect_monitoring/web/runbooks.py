"""Serves the runbooks. Messages link to them, unless the option `runbook_url` names another address."""

from __future__ import annotations

import asyncio
import re
from functools import cache
from html import escape
from typing import Final

from markdown_it import MarkdownIt
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from prefect_monitoring.config.shipped import shipped
from prefect_monitoring.web.status_page.page import HEADERS, STYLE

PATH: Final = "/runbooks"
_FOLDER: Final = shipped("docs/runbooks")
_INDEX: Final = "README"
_NAME: Final = re.compile(r"[A-Za-z]{1,80}")
# Links to the other pages of the documentation, which are not served.
_ELSEWHERE: Final = re.compile(r"\[([^\]]+)\]\(\.\./([\w./-]+)[^)]*\)")


def runbook_routes() -> list[Route]:
    """The index, and a page for each alert under its name, with or without the .md that its file has."""
    return [Route(f"{PATH}/", _runbook), Route(f"{PATH}/{{name}}", _runbook)]


async def _runbook(request: Request) -> Response:
    name = request.path_params.get("name", _INDEX).removesuffix(".md")
    page = await asyncio.to_thread(_page, name) if _NAME.fullmatch(name) else None
    if page is None:
        return PlainTextResponse("no such runbook\n", status_code=404)
    return HTMLResponse(page, headers=dict(HEADERS))


@cache
def _page(name: str) -> str | None:
    try:
        text = (_FOLDER / f"{name}.md").read_text(encoding="utf-8")
    except OSError:
        return None
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    body = markdown.render(_ELSEWHERE.sub(r"\1 (`docs/\2`)", text))
    index = "" if name == _INDEX else '<nav><a href="README.md">All runbooks</a></nav>'
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(name)} · runbook</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>
<body><main>{body}</main>{index}</body></html>
"""
