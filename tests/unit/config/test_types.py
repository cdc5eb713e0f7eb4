"""How the values of options are written."""

from __future__ import annotations

import pytest

from prefect_monitoring.analysis.durations import format_duration, parse_duration
from prefect_monitoring.config.types import holds_password


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("15m", 900),
        ("8d", 691200),
        ("1h30m", 5400),
        ("250ms", 0.25),
        ("1.5h", 5400),
        ("2w", 1209600),
        (" 30s ", 30),
        ("0s", 0),
    ],
)
def test_duration_is_parsed(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["30", "abc", "", "30 s", "-5s", "5x", "s", "1h30", "1,5h", "1e3s", 30, 30.0, None, True]
)
def test_invalid_duration_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="is not a duration: write a number with a unit"):
        parse_duration(text)


@pytest.mark.parametrize("seconds", [1, 30, 70, 900, 5400, 86400, 2592000, 604800])
def test_duration_is_formatted_as_it_is_parsed(seconds: float) -> None:
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sqlite:////var/lib/ledger.db", False),
        ("sqlite:///~/ledger@home.db", False),
        ("postgresql://db/ledger", False),
        ("postgresql://me@db:5432/ledger?sslmode=require", False),
        ("postgresql://me:pw@db/ledger", True),
        ("postgresql+psycopg://me:p/w#1?@db:5432/ledger", True),
        ("postgresql://me@db/ledger?Password=pw", True),
        ("postgresql://db/ledger?user=me&sslpassword=pw", True),
        ("postgresql:me:pw@db", True),
    ],
)
def test_password_in_a_database_url_is_detected(url: str, expected: bool) -> None:
    assert holds_password(url) == expected
