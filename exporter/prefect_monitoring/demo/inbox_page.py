"""The page of the demo's inbox: what Slack and PagerDuty would have shown. Without a script; the browser reloads it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import Any, Final

_RELOAD_SECONDS: Final = 5
# Explains why messages are missing at night; the hours are those of alertmanager.yml.
WORKING_HOURS: Final = (
    "Digests, and messages about pipelines of low criticality, are sent in working hours only: Monday to Friday,"
    " 08:00 to 18:00 UTC."
)
_STYLE: Final = """
:root { color-scheme: light; --line: #dfe3e8; --dim: #5f6b7a; }
* { box-sizing: border-box; }
body { margin: 0; font: 15px/1.5 system-ui, sans-serif; color: #1c2530; background: #f4f6f8; }
header { background: #1c2530; color: #fff; padding: 18px 32px; display: flex; gap: 32px; align-items: baseline; }
header h1 { font-size: 19px; margin: 0; font-weight: 600; }
header p { margin: 0; color: #b8c2cf; }
header .beat { margin-left: auto; }
main { display: grid; grid-template-columns: 3fr 2fr; gap: 28px; padding: 24px 32px; max-width: 1440px; margin: auto; }
@media (max-width: 900px) { main { grid-template-columns: 1fr; } }
section { min-width: 0; }
h2 { font-size: 15px; margin: 0 0 12px; color: var(--dim); font-weight: 600; }
article { background: #fff; border: 1px solid var(--line); border-left: 5px solid var(--mark); border-radius: 6px;
  padding: 12px 16px; margin-bottom: 14px; overflow-wrap: anywhere; }
article h3 { font-size: 15px; margin: 2px 0 6px; }
article h3 a { color: #1264a3; text-decoration: none; }
.meta { display: flex; justify-content: space-between; gap: 16px; color: var(--dim); font-size: 13px; }
.text { margin: 0 0 8px; }
code { font: 13px/1.4 ui-monospace, monospace; background: #f3f4f6; border: 1px solid var(--line);
  border-radius: 4px; padding: 0 4px; color: #b3123c; }
.buttons { display: flex; flex-wrap: wrap; gap: 8px; margin: 8px 0 4px; }
.buttons a { border: 1px solid #b8c2cf; border-radius: 5px; padding: 3px 12px; color: #1c2530; font-size: 13px;
  font-weight: 600; text-decoration: none; }
.buttons a.primary { background: #007a5a; border-color: #007a5a; color: #fff; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 14px; margin: 6px 0; font-size: 14px; }
dt { color: var(--dim); } dd { margin: 0; white-space: pre-line; }
h3 i { display: inline-block; width: 10px; height: 10px; border-radius: 5px; margin-right: 8px; }
.none { color: var(--dim); border-style: dashed; --mark: var(--line); }
"""
_COLOURS: Final = {"critical": "#d72b3f", "error": "#d72b3f", "warning": "#f2a900", "info": "#3b82c4"}
_RESOLVED: Final = "#2eb67d"
# Not every machine has a font with these.
_ICONS: Final = {"🔴": "#d72b3f", "🟠": "#f2a900", "🔵": "#3b82c4", "✅": _RESOLVED}
# What the person on call reads first; the other facts follow.
_FIRST_FACTS: Final = ("severity", "component", "class", "state", "cause", "since", "occurrences", "budget_left")


@dataclass(frozen=True, slots=True)
class Message:
    """`kind`: slack, pagerduty, teams, webhook, heartbeat. `channel`: Slack's, or PagerDuty's integration key."""

    kind: str
    channel: str
    received_at: float
    status: str  # firing or resolved
    body: dict[str, Any]


def inbox_page(messages: Sequence[Message], now: float) -> str:
    """HTML; the newest message of each kind first."""
    newest = sorted(messages, key=lambda message: message.received_at, reverse=True)
    slack = [_slack(message) for message in newest if message.kind == "slack"]
    pages = [_pagerduty(message) for message in newest if message.kind == "pagerduty"]
    beats = [message.received_at for message in newest if message.kind == "heartbeat"]
    beat = f"last heartbeat {_time(beats[0])}, {max(0, round(now - beats[0]))} s ago" if beats else "no heartbeat yet"
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>({len(newest) - len(beats)}) Inbox</title>
<meta http-equiv="refresh" content="{_RELOAD_SECONDS}"><meta name="viewport" content="width=device-width">
<style>{_STYLE}</style></head>
<body><header><h1>Inbox</h1><p>What Slack and PagerDuty would have received. Nothing left this machine.</p>
<p class="beat">Dead man's switch: {beat}</p></header>
<main>{_column("Slack", slack)}{_column("PagerDuty", pages)}</main></body></html>
"""


def _column(title: str, articles: Sequence[str]) -> str:
    inner = "".join(articles) or f'<article class="none">No messages. {WORKING_HOURS}</article>'
    return f"<section><h2>{title} · {len(articles)}</h2>{inner}</section>"


def _slack(message: Message) -> str:
    attachments = message.body.get("attachments", [])
    parts = [_attachment(attachment) for attachment in attachments]
    plain = message.body.get("text")
    inner = (f'<p class="text">{_mrkdwn(str(plain))}</p>' if plain else "") + "".join(parts)
    colours = [attachment.get("color") for attachment in attachments]
    return _article(message, message.channel, str(colours[0]) if colours else "", inner)


def _attachment(attachment: dict[str, Any]) -> str:
    buttons = [
        (str(action.get("text", "")), str(action.get("url", "")), str(action.get("style", "")))
        for action in attachment.get("actions") or []
    ]
    title = _icon(_link(escape(_unescaped(str(attachment.get("title", "")))), str(attachment.get("title_link", ""))))
    footer = escape(_unescaped(str(attachment.get("footer", ""))))
    text = _mrkdwn(str(attachment.get("text", "")))
    return f'<h3>{title}</h3><p class="text">{text}</p>{_buttons(buttons)}<div class="meta">{footer}</div>'


def _pagerduty(message: Message) -> str:
    payload = message.body.get("payload") or {}
    every = {name: payload.get(name) for name in ("severity", "component", "group", "class", "source")}
    every |= payload.get("custom_details") or {}
    facts = {name: every.get(name) for name in _FIRST_FACTS} | every
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(str(fact))}</dd>" for name, fact in facts.items() if fact)
    buttons = [(str(link.get("text", "")), str(link["href"]), "") for link in message.body.get("links") or []]
    summary = escape(str(payload.get("summary", "")))
    inner = f"<h3>{summary}</h3><dl>{rows}</dl>{_buttons(buttons)}"
    return _article(message, message.channel, _COLOURS.get(str(payload.get("severity")), ""), inner)


def _article(message: Message, channel: str, colour: str, inner: str) -> str:
    mark = _RESOLVED if message.status == "resolved" else colour
    safe = mark if re.fullmatch(r"#[0-9a-fA-F]{3,6}", mark) else "#b8c2cf"
    meta = f"<span>{escape(channel)} · {escape(message.status)}</span><span>{_time(message.received_at)}</span>"
    return f'<article style="--mark: {safe}"><div class="meta">{meta}</div>{inner}</article>'


def _buttons(buttons: Sequence[tuple[str, str, str]]) -> str:
    """Slack shows no button without an address."""
    links = [
        f'<a class="{"primary" if style == "primary" else ""}" href="{escape(url)}">{escape(text)}</a>'
        for text, url, style in buttons
        if _opens(url)
    ]
    return f'<div class="buttons">{"".join(links)}</div>' if links else ""


def _icon(html: str) -> str:
    for icon, colour in _ICONS.items():
        html = html.replace(f"{icon} ", f'<i style="background: {colour}"></i>', 1)
    return html


def _link(html: str, url: str) -> str:
    return f'<a href="{escape(url)}">{html}</a>' if _opens(url) else html


def _opens(url: str) -> bool:
    return url.startswith(("http://", "https://"))


def _unescaped(text: str) -> str:
    """Slack knows only these three entities."""
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def _mrkdwn(text: str) -> str:
    """Slack's markup as HTML: `code` and *bold*; everything else as it stands."""
    parts = re.split(r"`([^`\n]+)`", escape(_unescaped(text.strip())))
    for number, part in enumerate(parts):
        bold = re.sub(r"(?<!\w)\*([^*\n]+)\*(?!\w)", r"<b>\1</b>", part).replace("\n", "<br>")
        parts[number] = f"<code>{part}</code>" if number % 2 else bold
    return "".join(parts)


def _time(timestamp: float) -> str:
    return f"{datetime.fromtimestamp(timestamp, UTC):%Y-%m-%d %H:%M:%S} UTC"
