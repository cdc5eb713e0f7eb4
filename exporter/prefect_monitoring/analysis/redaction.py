"""Removes secrets from texts that are shown, mostly error messages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

HIDDEN: Final = "***"
_SENSITIVE_NAME: Final = (
    r"[\w.-]{0,40}(?:password|passwd|pwd|secret|token(?!s\b|iz)|api[_-]?key|access[_-]?key|private[_-]?key"
    r"|credentials?|authorization|(?<![a-z])sig(?:nature)?(?![a-z]))[\w.-]{0,40}"
)
_IS_SENSITIVE: Final = re.compile(_SENSITIVE_NAME, re.IGNORECASE)
# Substrings (lower case) without which the pattern need not be searched, the pattern, and its replacement. Quantifiers
# are bounded and never nested, because a message may be megabytes of anything.
_PATTERNS: Final = (
    # user:password@ in a URL, whose password may contain / and @; also a bare user name, which may be a token.
    (
        ("://",),
        re.compile(
            r"(?P<kept>\b[a-zA-Z][a-zA-Z0-9+.-]{0,30}://)(?:[^\s:/@'\"<>]{0,200}:[^\s'\"<>]{0,300}|[^\s/@'\"<>]{1,500})@"
        ),
        rf"\g<kept>{HIDDEN}@",
    ),
    (
        ("bearer", "basic", "token"),
        re.compile(r"(?P<kept>\b(?:Bearer|Basic|Token)\s{1,5})[\w.~+/=-]{8,2000}", re.IGNORECASE),
        rf"\g<kept>{HIDDEN}",
    ),
    # name=value, name: value, "name": "value"; also in a query string.
    (
        ("pass", "pwd", "secret", "token", "key", "credential", "authorization", "sig"),
        re.compile(
            rf"(?P<kept>\b{_SENSITIVE_NAME}[\"']?\s{{0,5}}[=:]\s{{0,5}})(?:\"[^\"\n]{{0,2000}}\"|'[^'\n]{{0,2000}}'|[^\s,;&'\"]{{1,2000}})",
            re.IGNORECASE,
        ),
        rf"\g<kept>{HIDDEN}",
    ),
    # Keys with known prefixes: AWS, GitHub, GitLab, Slack, Prefect, Stripe, OpenAI, Google.
    (
        (
            *("akia", "asia", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "xox", "pnu_", "pnb_"),
            *("k_live_", "k_test_", "sk-", "aiza"),
        ),
        re.compile(
            r"\b(?:(?:AKIA|ASIA)[A-Z0-9]{16}|gh[pousr]_\w{20,255}|github_pat_\w{20,255}|glpat-[\w-]{20,64}"
            r"|xox[abeprs]-[\w-]{10,255}|pn[ub]_\w{20,64}|[sr]k_(?:live|test)_\w{16,128}|sk-[\w-]{20,200}|AIza[\w-]{35})"
        ),
        HIDDEN,
    ),
    (("hooks.slack.com",), re.compile(r"https://hooks\.slack\.com/[\w/-]{1,200}"), f"https://hooks.slack.com/{HIDDEN}"),
    (("eyj",), re.compile(r"\beyJ[\w-]{8,4000}\.[\w-]{8,8000}\.[\w-]{8,2000}"), HIDDEN),
    (("@",), re.compile(r"\b[\w.%+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}\b"), HIDDEN),
)


def redact(text: str) -> str:
    """`text` with credentials, keys, tokens and e-mail addresses replaced by `***`. Linear in its length."""
    folded = text.casefold()
    for hints, pattern, kept in _PATTERNS:
        if any(hint in folded for hint in hints):
            text = pattern.sub(kept, text)
    return text


def redact_value(value: Any) -> Any:
    """JSON with all its texts redacted, and all values whose key names a secret replaced."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {
            key: HIDDEN if _IS_SENSITIVE.fullmatch(str(key)) else redact_value(inner) for key, inner in value.items()
        }
    return [redact_value(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def first_line(text: str, length: int) -> str:
    """The first line of `text` that is not blank, redacted, at most `length` characters, cut with an ellipsis."""
    # Enough for redaction to see whole secrets; the rest would be cut off anyway.
    line = next((line.strip() for line in text[:20_000].splitlines() if line.strip()), "")
    line = redact(line)
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"
