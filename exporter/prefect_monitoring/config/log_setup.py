"""Log lines, for people or for machines, on standard error."""

from __future__ import annotations

import logging
import sys
from typing import Any, Final

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

from prefect_monitoring.config.settings import LogSettings

# The JSON lines' keys and the attributes of a record that they come from; `time` is added by the formatter itself.
_JSON_FIELDS: Final = {"levelname": "level", "name": "logger", "message": "message", "exc_info": "exception"}
_JSON_ORDER: Final = ("time", *_JSON_FIELDS.values())


class _JsonLines(JsonFormatter):
    def process_log_record(self, log_data: dict[str, Any]) -> dict[str, Any]:
        # Only these: what a library attaches to its records may be anything, credentials included.
        line = {key: log_data[key] for key in _JSON_ORDER if key in log_data}
        return line | {"level": line["level"].lower()}


def json_formatter() -> logging.Formatter:
    """One JSON object per line: `time` (ISO 8601, UTC), `level`, `logger`, `message`; `exception` with a traceback."""
    return _JsonLines(
        "%(levelname)s %(name)s %(message)s",
        timestamp="time",
        rename_fields=_JSON_FIELDS,
        reserved_attrs=[*RESERVED_ATTRS, *_JSON_ORDER],
        json_ensure_ascii=False,
    )


def set_up_logging(settings: LogSettings) -> None:
    """Sends all records to standard error: ours from `log_level` on, those of libraries from WARNING on.

    Replaces the handlers that the root logger had. Libraries keep the levels of their own loggers.
    """
    handler = logging.StreamHandler(sys.stderr)
    text = logging.Formatter("%(asctime)s %(levelname)-7s %(message)s")
    handler.setFormatter(json_formatter() if settings.log_format == "json" else text)
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("prefect_monitoring").setLevel(settings.log_level.upper())
