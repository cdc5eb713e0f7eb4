"""Formats the Slack message of a run as Block Kit within Slack's limits. Pure.

Limits: https://docs.slack.dev/reference/block-kit/blocks (header 150, section 3,000, field 2,000, button URL 3,000).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from prefect_monitoring.analysis.message_patterns import without_preamble
from prefect_monitoring.analysis.redaction import first_line, redact

Block = dict[str, Any]

MAX_HEADER: Final = 150
MAX_SECTION: Final = 3000
MAX_FIELD: Final = 2000
MAX_URL: Final = 3000
MAX_TEXT: Final = 4000
MAX_ERROR: Final = 500
MAX_NAME: Final = 200
_MINUTE: Final = 60
_HOUR: Final = 3600

Kind = Literal["failure", "success", "crashed"]
_HEADERS: Final[Mapping[Kind, str]] = {
    "failure": ":red_circle: {name} failed",
    "success": ":large_green_circle: {name} completed",
    "crashed": ":boom: {name} crashed",
}


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What a message shows of a flow run or task run. `seconds` is None for a run that never started.

    `url` is the run's page in Prefect, "" if Prefect's address is unknown.
    """

    subject: Literal["Flow", "Task"]
    name: str
    run_name: str
    status: str
    seconds: float | None
    error: str
    url: str


def run_message(kind: Kind, facts: RunFacts) -> tuple[str, list[Block]]:
    """The text for notifications and for screens without blocks, and the blocks."""
    title = cut(_HEADERS[kind].format(name=_plain(facts.name)), MAX_HEADER)
    fields = {
        facts.subject: facts.name,
        "Run": facts.run_name,
        "Status": facts.status,
        "Duration": "did not start" if facts.seconds is None else duration(facts.seconds),
    }
    blocks: list[Block] = [{"type": "header", "text": {"type": "plain_text", "text": title, "emoji": True}}]
    blocks.append({"type": "section", "fields": [_field(name, text) for name, text in fields.items()]})
    error = first_line(without_preamble(facts.error), MAX_ERROR) if kind != "success" else ""
    if error:
        quoted = escape(error).replace("```", "'''")
        blocks.append(_section(f"*Error*\n```{quoted}```"))
    if facts.url and len(facts.url) + len("?tab=Logs") <= MAX_URL:
        buttons = [_button("View run", facts.url), _button("View logs", f"{facts.url}?tab=Logs")]
        blocks.append({"type": "actions", "elements": buttons})
    text = escape(f"{facts.name} {facts.status.lower()}" + (f": {error}" if error else ""))
    return cut(text, MAX_TEXT), blocks


def text_message(text: str, blocks: Sequence[Block] | None) -> tuple[str, list[Block] | None]:
    """A user's message: mrkdwn as written, redacted, cut to the limit."""
    return cut(redact(text), MAX_TEXT), list(blocks) if blocks is not None else None


def escape(text: str) -> str:
    """Escaped text: Slack shows `<!channel>`, `<@U1>` and links as they are written."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def duration(seconds: float) -> str:
    """`0.4 s`, `45 s`, `12 min 30 s`, `3 h 4 min`."""
    if seconds < _MINUTE:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"  # noqa: PLR2004 tenths matter below that
    whole = round(seconds)
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE} s"
    return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE} min"


def cut(text: str, length: int) -> str:
    """`text`, at most `length` characters; never cut in the middle of an escaped character."""
    if len(text) <= length:
        return text
    kept = text[: length - 1]
    amp = kept.rfind("&", -5)
    return (kept[:amp] if amp >= 0 and ";" not in kept[amp:] else kept) + "…"


def _plain(text: str) -> str:
    """A name inside plain text with emoji on: colons could make one."""
    return text.replace(":", "\u02d0") if text.count(":") > 1 else text


def _field(name: str, text: str) -> Block:
    return {"type": "mrkdwn", "text": cut(f"*{name}*\n{escape(redact(cut(text, MAX_NAME))) or '-'}", MAX_FIELD)}


def _section(text: str) -> Block:
    return {"type": "section", "text": {"type": "mrkdwn", "text": cut(text, MAX_SECTION)}}


def _button(label: str, url: str) -> Block:
    return {"type": "button", "text": {"type": "plain_text", "text": label}, "url": url}
