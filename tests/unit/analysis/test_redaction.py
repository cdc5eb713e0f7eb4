"""Secrets in messages must not reach Slack, labels or logs."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_monitoring.analysis.redaction import _PATTERNS, first_line, redact, redact_value

SECRETS = [
    ("GET https://x.blob.core.windows.net/a?sv=2024&sig=AbC%2Fdef", "AbC%2Fdef"),
    ("connect to postgresql://etl:hunter2@db:5432/dwh failed", "hunter2"),
    ("postgresql+psycopg://etl:p/w@d@db/dwh", "p/w@d"),
    ("GET https://ghp_token0123456789012345@api.example.com/x", "ghp_token0123456789012345"),
    ("401 for https://api.example.com/v1?api_key=abc123&page=2", "abc123"),
    ("Authorization: Bearer abcdefgh12345678", "abcdefgh12345678"),
    ('{"password": "s3cr3t word", "user": "etl"}', "s3cr3t word"),
    ("snowflake_password='top secret'", "top secret"),
    ("AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG", "wJalrXUtnFEMI/K7MDENG"),
    ("key AKIAIOSFODNN7EXAMPLE is disabled", "AKIAIOSFODNN7EXAMPLE"),
    ("xoxb-1234567890-abcdefghij was revoked", "xoxb-1234567890-abcdefghij"),
    ("pnu_0123456789abcdefghijklmnop is not valid", "pnu_0123456789abcdefghijklmnop"),
    ("POST https://hooks.slack.com/services/T0/B0/XXXX", "T0/B0/XXXX"),
    ("token eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJSMeK expired", "SflKxwRJSMeK"),
    ("user jane.doe+etl@example.co.uk has no grant", "jane.doe+etl@example.co.uk"),
]
HARMLESS = [
    "process ended with signal: 9, as design: strict wants",
    "max_tokens=4096 exceeded, tokenizer: fast",
    "KeyError: 'orders'",
    "relation public.orders does not exist at character 15",
    "https://example.com/docs?page=2 answered 503 after 3 tries",
    "Flow run encountered an exception: ValueError: 7 > 5",
]


@pytest.mark.parametrize(("text", "secret"), SECRETS)
def test_redact_text_with_a_secret_hides_it(text: str, secret: str) -> None:
    assert secret in text
    assert secret not in redact(text)


@pytest.mark.parametrize("text", HARMLESS)
def test_redact_harmless_text_keeps_it(text: str) -> None:
    assert redact(text) == text


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_redact_twice_changes_nothing_more(text: str) -> None:
    assert redact(redact(text)) == redact(text)


@pytest.mark.parametrize("piece", ["a://", "password=", "a@b", "Bearer ", "eyJaaaaaaaa.", "a" * 50, "x-" * 30])
def test_redact_hostile_text_takes_linear_time(piece: str) -> None:
    def seconds(count: int) -> float:
        begun = time.process_time()
        redact(piece * count)
        return time.process_time() - begun

    small = max(seconds(2_000), 1e-3)
    assert seconds(16_000) < 40 * small  # quadratic would be 64 times


def test_first_line_of_a_traceback_is_short_and_redacted() -> None:
    text = "\n\n  ConnectionError: postgresql://a:b@c/d  \nTraceback: …\n" + "x" * 10
    assert first_line(text, 200) == "ConnectionError: postgresql://***@c/d"
    assert first_line("a" * 300, 200) == "a" * 199 + "…"
    assert first_line("", 10) == ""


@given(
    st.lists(
        st.sampled_from([text for text, _ in SECRETS] + HARMLESS + [" ", "\u212a", "\u017f", "TOKEN", "=", "x" * 9])
    )
)
def test_redact_combined_pattern_finds_what_each_pattern_finds(pieces: list[str]) -> None:
    text = expected = "".join(pieces)
    for _, pattern, kept in _PATTERNS:
        expected = pattern.sub(kept, expected)
    assert redact(text) == expected


def test_redact_value_hides_named_secrets_and_secrets_in_texts() -> None:
    value = {
        "table": "orders",
        "db": {"url": "postgresql://etl:hunter2@db/dwh", "Password": ["a", "b"], "port": 5432},
        "api_key": None,
        "mails": ("jane@example.com", 7, True),
        "max_tokens": 512,
    }
    assert redact_value(value) == {
        "table": "orders",
        "db": {"url": "postgresql://***@db/dwh", "Password": "***", "port": 5432},
        "api_key": "***",
        "mails": ["***", 7, True],
        "max_tokens": 512,
    }
