"""Log lines as JSON: the same keys, whatever libraries attach to their records."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

import pytest

from prefect_monitoring.config.log_setup import json_formatter


def record_of(message: str, *arguments: object, **attributes: object) -> logging.LogRecord:
    record = logging.LogRecord("prefect_monitoring.web", logging.WARNING, "app.py", 7, message, arguments, None)
    record.__dict__.update(attributes)
    return record


def test_line_has_time_level_logger_and_message_in_this_order() -> None:
    line = json_formatter().format(record_of("%d runs of größe\nwait", 3, created=1772452800.25))
    assert "\n" not in line
    assert "größe" in line
    assert list(json.loads(line).items()) == [
        ("time", datetime(2026, 3, 2, 12, 0, 0, 250_000, UTC).isoformat()),
        ("level", "warning"),
        ("logger", "prefect_monitoring.web"),
        ("message", "3 runs of größe\nwait"),
    ]


def test_exception_is_a_key_with_its_traceback() -> None:
    try:
        raise ZeroDivisionError("nothing to divide by")
    except ZeroDivisionError:
        line = json.loads(json_formatter().format(record_of("failed", exc_info=sys.exc_info())))
    assert list(line) == ["time", "level", "logger", "message", "exception"]
    assert line["exception"].startswith("Traceback (most recent call last)")
    assert line["exception"].endswith("ZeroDivisionError: nothing to divide by")


@pytest.mark.parametrize("name", ["color_message", "api_key", "time", "level"])
def test_attributes_of_other_libraries_are_left_out(name: str) -> None:
    line = json.loads(json_formatter().format(record_of("request", created=0.0, **{name: "s3cret"})))
    assert list(line) == ["time", "level", "logger", "message"]
    assert "s3cret" not in str(line)
