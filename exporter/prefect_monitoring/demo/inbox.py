"""A stand-in for Slack, PagerDuty, Microsoft Teams, a webhook and a dead man's switch, for the demo and tests.

It refuses what they refuse, and what Slack would only cut off; GET / shows what a person would have received.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import asdict
from typing import Any, Final, Literal, Self

import uvicorn
from pydantic import BaseModel, Field, ValidationError, model_validator
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from prefect_monitoring.demo.inbox_page import Message, inbox_page
from prefect_monitoring.demo.processes import split_address

KEPT: Final = 500  # messages
KEPT_HEARTBEATS: Final = 20  # one a minute would push out everything else
_MAX_EVENT_BYTES: Final = 512_000
_RESOLVED_MARK: Final = "✅"  # Slack's messages have no status; the templates start the titles of resolved ones with it


def _text(limit: int) -> Any:
    return Field(default="", max_length=limit)


class _Action(BaseModel):
    text: str = _text(75)
    url: str = _text(3000)
    style: str = ""


class _Attachment(BaseModel):
    """Slack's limits, in characters or entries."""

    title: str = _text(1024)
    title_link: str = _text(3000)
    text: str = _text(3000)
    fallback: str = _text(3000)
    footer: str = _text(300)
    color: str = ""
    actions: list[_Action] = Field(default=[], max_length=5)
    fields: list[dict[str, Any]] = Field(default=[], max_length=10)


class _Form(BaseModel):
    """The payload that one service accepts."""

    @property
    def shown_status(self) -> str:
        """Whether it is firing or resolved."""
        raise NotImplementedError


class _SlackMessage(_Form):
    text: str = _text(3000)
    attachments: list[_Attachment] = Field(default=[], max_length=20)

    @property
    def shown_status(self) -> str:
        return _status_of(attachment.title for attachment in self.attachments)

    @model_validator(mode="after")
    def something_to_show(self) -> Self:
        if not self.text and not any(attachment.text or attachment.title for attachment in self.attachments):
            raise ValueError("no_text")
        return self


class _TeamsCard(BaseModel):
    title: str = Field(min_length=1)
    text: str = Field(min_length=1, max_length=20_000)


class _TeamsMessage(_Form):
    """What the documented Workflow reads from a message; Teams accepts 28 KB."""

    attachments: list[_TeamsCard] = Field(min_length=1, max_length=1)

    @property
    def shown_status(self) -> str:
        return _status_of(attachment.title for attachment in self.attachments)


class _Webhook(_Form):
    """Alertmanager's own JSON."""

    version: Literal["4"]
    status: Literal["firing", "resolved"]
    alerts: list[dict[str, Any]] = Field(min_length=1)

    @property
    def shown_status(self) -> str:
        return self.status


class _Link(BaseModel):
    href: str = Field(min_length=1)
    text: str = ""


class _Payload(BaseModel):
    summary: str = Field(min_length=1, max_length=1024)
    source: str = Field(min_length=1)
    severity: Literal["critical", "error", "warning", "info"]
    custom_details: dict[str, Any] = {}


class _Event(BaseModel):
    """To resolve an incident, PagerDuty requires only its key."""

    routing_key: str = Field(min_length=32, max_length=32)
    event_action: Literal["trigger", "acknowledge", "resolve"]
    dedup_key: str = _text(255)
    payload: _Payload | None = None
    links: list[_Link] = []

    @model_validator(mode="after")
    def has_what_its_action_needs(self) -> Self:
        if self.event_action == "trigger" and self.payload is None:
            raise ValueError("'payload' is missing")
        if self.event_action != "trigger" and not self.dedup_key:
            raise ValueError("'dedup_key' is missing")
        return self


class _Heartbeat(_Form):
    status: str = "firing"

    @property
    def shown_status(self) -> str:
        return self.status


def _status_of(titles: Iterable[str]) -> str:
    return "resolved" if any(title.startswith(_RESOLVED_MARK) for title in titles) else "firing"


def _faults(error: ValidationError) -> list[str]:
    return [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}".removeprefix(": ") for fault in error.errors()]


def make_inbox_app(clock: Callable[[], float] = time.time) -> Starlette:
    messages: deque[Message] = deque(maxlen=KEPT)
    heartbeats: deque[Message] = deque(maxlen=KEPT_HEARTBEATS)

    def taking(kind: str, form: type[_Form]) -> Callable[[Request], Awaitable[Response]]:
        async def take(request: Request) -> Response:
            try:
                body = form.model_validate_json(raw := await request.body())
            except ValidationError as error:
                return PlainTextResponse(f"invalid_payload: {'; '.join(_faults(error))}", status_code=400)
            channel = f"#{request.path_params['channel']}" if "channel" in request.path_params else ""
            kept = heartbeats if form is _Heartbeat else messages
            kept.append(Message(kind, channel, clock(), body.shown_status, json.loads(raw)))
            return PlainTextResponse("ok")

        return take

    async def pagerduty(request: Request) -> Response:
        raw = await request.body()
        if len(raw) > _MAX_EVENT_BYTES:
            return JSONResponse({"status": "invalid event", "message": "Event is too large"}, status_code=413)
        try:
            event = _Event.model_validate_json(raw)
        except ValidationError as error:
            refusal = {"status": "invalid event", "message": "Event object is invalid", "errors": _faults(error)}
            return JSONResponse(refusal, status_code=400)
        status = "resolved" if event.event_action == "resolve" else "firing"
        messages.append(Message("pagerduty", event.routing_key.rstrip("-"), clock(), status, json.loads(raw)))
        accepted = {"status": "success", "message": "Event processed", "dedup_key": event.dedup_key}
        return JSONResponse(accepted, status_code=202)

    async def as_json(_: Request) -> Response:
        both = sorted((*messages, *heartbeats), key=lambda message: message.received_at)
        return JSONResponse([asdict(message) for message in both])

    async def page(_: Request) -> Response:
        headers = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
        return HTMLResponse(inbox_page((*messages, *heartbeats), clock()), headers=headers)

    return Starlette(
        routes=[
            Route("/", page),
            Route("/messages", as_json),
            Route("/slack/{channel}", taking("slack", _SlackMessage), methods=["POST"]),
            Route("/pagerduty/v2/enqueue", pagerduty, methods=["POST"]),
            Route("/teams", taking("teams", _TeamsMessage), methods=["POST"]),
            Route("/webhook", taking("webhook", _Webhook), methods=["POST"]),
            Route("/heartbeat", taking("heartbeat", _Heartbeat), methods=["POST"]),
        ]
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="prefect_monitoring.demo.inbox", description=__doc__)
    parser.add_argument("--listen", default="127.0.0.1:9099", metavar="HOST:PORT")
    host, port = split_address(parser.parse_args(arguments).listen)
    uvicorn.run(make_inbox_app(), host=host, port=port, log_level="warning")


if __name__ == "__main__":
    main()
