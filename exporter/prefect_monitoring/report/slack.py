"""The report as a message to Slack: Block Kit within Slack's limits, whatever the number of pipelines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from prefect_monitoring.flows.slack_message import MAX_HEADER, MAX_SECTION, MAX_TEXT, Block, cut
from prefect_monitoring.flows.slack_message import escape as escape_control
from prefect_monitoring.report.document import Document, Table
from prefect_monitoring.report.wording import UNKNOWN

MAX_ROWS: Final = 8
MAX_ROW: Final = 320
# Characters that mrkdwn formats with, and lookalikes.
_LOOKALIKES: Final = str.maketrans({"*": "\u2217", "~": "\u223c", "`": "\u02cb"})
_EMPHASIS: Final = re.compile(r"(?<!\w)_|_(?!\w)")
_EMOJI: Final = re.compile(r":(?=[\w+-]+:)")


def render(document: Document) -> dict[str, Any]:
    """The message for an incoming webhook: `text` for notifications, and `blocks`."""
    blocks: list[Block] = [
        {"type": "header", "text": {"type": "plain_text", "text": cut(_line(document.title), MAX_HEADER)}},
        {"type": "context", "elements": [_mrkdwn(escape(document.period))]},
        _section("\n".join(f"*{escape(line.label)}:* {cut(escape(line.text), MAX_ROW)}" for line in document.lines)),
    ]
    blocks += [_section(_table_text(table)) for table in document.tables if table.rows and not table.is_list]
    if document.notes:
        blocks.append({"type": "context", "elements": [_mrkdwn(escape(" ".join(document.notes)))]})
    summary = [document.title, *(f"{line.label}: {line.text}" for line in document.lines)]
    return {"text": cut("\n".join(map(escape, summary)), MAX_TEXT), "blocks": blocks}


def escape(text: str) -> str:
    """Text without mrkdwn: mentions, links, emphasis, code and emoji are shown as written."""
    plain = _EMOJI.sub("\u02d0", _EMPHASIS.sub("\u02cd", _line(text).translate(_LOOKALIKES)))
    return escape_control(plain)


def _line(text: str) -> str:
    return " ".join(text.split())


def _section(text: str) -> Block:
    return {"type": "section", "text": _mrkdwn(text)}


def _mrkdwn(text: str) -> Block:
    # Verbatim, so that Slack does not link addresses, channels or people.
    return {"type": "mrkdwn", "text": cut(text, MAX_SECTION), "verbatim": True}


def _table_text(table: Table) -> str:
    rows = [cut(row, MAX_ROW) for row in _rows(table)]
    left_out = len(rows) - MAX_ROWS + table.more if len(rows) > MAX_ROWS else table.more
    more = [f"… and {left_out:,} more"] if left_out else []
    return "\n".join([f"*{escape(table.title)}*", *rows[:MAX_ROWS], *more])


def _rows(table: Table) -> Iterator[str]:
    """The first column, then the others with their titles."""
    for first, *cells in table.rows:
        details = [
            f"{escape(column.title.lower())} {escape(cell.text)}"
            for column, cell in zip(table.columns[1:], cells, strict=True)
            if cell.text not in {"", UNKNOWN}
        ]
        yield f"• *{escape(first.text)}*: {' · '.join(details)}"
