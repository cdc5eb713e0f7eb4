"""Why a run failed, told from the message of its state.

One table, first match wins; users put their own patterns before it (option `failure_causes`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

OTHER_CAUSE: Final = "other"


@dataclass(frozen=True, slots=True)
class CausePattern:
    cause: str
    pattern: re.Pattern[str]


def compile_pattern(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


def _table(*rows: tuple[str, str]) -> tuple[CausePattern, ...]:
    return tuple(CausePattern(cause, compile_pattern(pattern)) for cause, pattern in rows)


# Narrow causes stand before wide ones: a connection that timed out is a timeout, a query that deadlocked is a lock.
CAUSE_PATTERNS: Final = _table(
    ("rate_limit", r"\b429\b|rate.?limit|too many requests|throttl|quota exceeded|slow ?down"),
    (
        "db_lock",
        r"deadlock|lock (?:wait )?timeout|(?:database|table) is locked|could not obtain lock|serializ\w+ failure",
    ),
    (
        "out_of_memory",
        r"out of memory|\bOOM|MemoryError|cannot allocate memory|exit(?:ed)?\D{0,40}\b137\b|status code:? 137",
    ),
    ("timeout", r"time[d]?[ -]?out|TimeoutError|deadline exceeded|exceeded timeout"),
    (
        "auth",
        r"\b401\b|\b403\b|unauthori[sz]ed|forbidden|permission denied|access ?denied|authentication"
        r"|invalid credentials",
    ),
    (
        "connection",
        r"Connect(?:ion)?Error|connection (?:refused|reset|aborted|closed)|broken pipe|name resolution|ConnectionReset"
        r"|getaddrinfo|unreachable|RemoteProtocolError|server disconnected|\b50[234]\b|SSL(?:Error|:)",
    ),
    (
        "infrastructure",
        r"infrastructure|non-zero status|exit(?:ed with)? (?:status |code )|SIGKILL|SIGTERM|terminated by|evict"
        r"|ImagePull|no space left|disk full|worker|submission|zombie|heartbeat",
    ),
    (
        "data",
        r"schema|constraint|duplicate key|null value|validation ?error|data ?quality|UnicodeDecodeError|JSONDecodeError"
        r"|dbt test|(?:column|table|relation)\b.*(?:not exist|not found|missing)|no such (?:column|table)",
    ),
    (
        "code",
        r"\b(?:Type|Value|Key|Index|Attribute|Name|Import|ModuleNotFound|Syntax|ZeroDivision|Assertion|Runtime|NotImplemented"
        r"|Recursion|FileNotFound|Unbound\w*|MissingFlow|ScriptError)(?:Error)?\b",
    ),
)


def cause_of(message: str, extra: Iterable[CausePattern] = ()) -> str:
    """The first cause whose pattern is found in `message`, the user's own (`extra`) first; "other" when none is."""
    for row in (*extra, *CAUSE_PATTERNS):
        if row.pattern.search(message):
            return row.cause
    return OTHER_CAUSE
