"""Why a run failed, from the message of its state.

One table, first match wins; users put their own patterns before it (option `failure_causes`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

OTHER_CAUSE: Final = "other"
END_LENGTH: Final = 2000


@dataclass(frozen=True, slots=True)
class CausePattern:
    cause: str
    pattern: re.Pattern[str]


def compile_pattern(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


def _table(*rows: tuple[str, str]) -> tuple[CausePattern, ...]:
    return tuple(CausePattern(cause, compile_pattern(pattern)) for cause, pattern in rows)


# Narrow causes come before wide ones: a connection that timed out is a timeout, a query that deadlocked is a lock. Code
# errors come first, by the name of the exception: the text of a KeyError or TypeError may contain any word.
CAUSE_PATTERNS: Final = _table(
    (
        "code",
        r"\b(?:Type|Key|Index|Attribute|Name|Import|ModuleNotFound|Syntax|ZeroDivision|NotImplemented|Recursion"
        r"|UnboundLocal|MissingFlow|Indentation)Error\b",
    ),
    ("rate_limit", r"\b429\b|rate.?(?:limit|exceeded)|too many requests|throttl|quota exceeded|slow ?down"),
    (
        "db_lock",
        r"deadlock|lock (?:wait )?timeout|(?:database|table) is locked|could not obtain lock|serialization ?failure"
        r"|could not serialize access",
    ),
    (
        "out_of_memory",
        r"out ?of ?memory|\bOOM|MemoryError|cannot allocate memory|exit(?:ed)?\D{0,40}\b137\b|status code:? 137",
    ),
    ("timeout", r"timed?[ -]?out|deadline ?exceeded"),
    (
        "auth",
        r"\b401\b|\b403\b|unauthori[sz]ed|forbidden|permission denied|access ?denied|authentication|credentials?\b"
        r"|incorrect username or password|token (?:is|has|was) (?:been )?(?:invalid|expired|revoked)|expired ?token"
        r"|invalid_grant|NoCredentials",
    ),
    (
        "connection",
        r"Connect(?:ion)?Error|connection (?:refused|reset|aborted|closed)|closed the connection|broken pipe|gaierror"
        r"|name resolution|name or service not known|ConnectionReset|no route to host|unreachable|RemoteProtocolError"
        r"|server disconnected|\b50[234]\b|SSL(?:\w*Error|:)",
    ),
    (
        "infrastructure",
        r"infrastructure|non-zero status|exit(?:ed with)? (?:status |code )|SIGKILL|SIGTERM|terminated by|evict"
        r"|ImagePull|no space left|disk full|\bworker\b|submission|zombie|heartbeat",
    ),
    (
        "data",
        r"schema|constraint|duplicate key|null value|validation ?error|data ?quality|UnicodeDecodeError|JSONDecodeError"
        r"|dbt test|(?:column|table|relation)\b.{0,200}(?:not exist|not found|missing)|no such (?:column|table)",
    ),
    ("code", r"\b(?:Value|Assertion|Runtime|FileNotFound|Script)Error\b"),
)

KNOWN_CAUSES: Final = frozenset({*(row.cause for row in CAUSE_PATTERNS), OTHER_CAUSE})


def ends_of(message: str) -> str:
    """The beginning and end of a message, where the error is: it may quote megabytes of SQL in between."""
    return message if len(message) <= 2 * END_LENGTH else f"{message[:END_LENGTH]}\n{message[-END_LENGTH:]}"


def cause_of(message: str, extra: Iterable[CausePattern] = ()) -> str:
    """The first cause whose pattern matches in `message`, the user's own (`extra`) first; else "other"."""
    ends = ends_of(message)
    for row in (*extra, *CAUSE_PATTERNS):
        if row.pattern.search(ends):
            return row.cause
    return OTHER_CAUSE
