"""Messages of one fault share one pattern, and no pattern holds a secret."""

from __future__ import annotations

import pytest

from prefect_monitoring.analysis.message_patterns import (
    MAX_MESSAGE,
    MAX_PATTERN,
    exception_type,
    message_line,
    pattern_of,
)


@pytest.mark.parametrize(
    ("message", "pattern"),
    [
        ("", ""),
        ("Flow run encountered an exception: ValueError: bad row 17\nTraceback …", "ValueError: bad row #"),
        (
            "Flow run process exited with non-zero status code -9.",
            "Flow run process exited with non-zero status code #.",
        ),
        ("GET /orders/4711 answered 503 after 30.5 s", "GET /orders/# answered 503 after # s"),
        ("no partition for 2026-11-29T04:00:00+00:00", "no partition for #"),
        ("run 0e1cd3aa-5b1f-4c1e-9d53-0a4a1f6f6b11 is gone", "run # is gone"),
        ("object at 0x7f4121b0 (etag deadbeef01)", "object at # (etag #)"),
        ("could not connect to 10.0.0.3:5432", "could not connect to #"),
        ("table orders_v2 is defaced", "table orders_v2 is defaced"),
        ("login postgres://etl:Sesam-0451@db/dwh failed", "login postgres://***@db/dwh failed"),
    ],
)
def test_pattern_drops_what_differs_between_runs(message: str, pattern: str) -> None:
    assert pattern_of(message) == pattern


def test_pattern_of_a_huge_message_is_short() -> None:
    assert len(pattern_of("x" * 5_000_000)) == MAX_PATTERN


@pytest.mark.parametrize(
    ("message", "line", "kind"),
    [
        ("", "", ""),
        ("\n  \n", "", ""),
        ("Flow run encountered an exception: ValueError: bad row 17\nmore", "ValueError: bad row 17", "ValueError"),
        (
            "sqlalchemy.exc.OperationalError: gone",
            "sqlalchemy.exc.OperationalError: gone",
            "sqlalchemy.exc.OperationalError",
        ),
        ("KeyError", "KeyError", "KeyError"),
        ("Flow run process exited with code -9.", "Flow run process exited with code -9.", ""),
        ("Error: login postgres://etl:Sesam-0451@db failed", "Error: login postgres://***@db failed", "Error"),
        ("mail to jane.doe@example.com bounced", "mail to *** bounced", ""),
        ("Error: <!channel> <@U1> `x`", "Error: <!channel> <@U1> `x`", "Error"),
    ],
)
def test_message_is_the_first_line_without_secrets(message: str, line: str, kind: str) -> None:
    assert message_line(message) == line
    assert exception_type(line) == kind


def test_message_of_a_huge_text_is_short() -> None:
    assert len(message_line("x" * 5_000_000)) == MAX_MESSAGE
