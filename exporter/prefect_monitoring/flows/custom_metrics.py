"""Writes METRIC log lines that the exporter can read."""

from __future__ import annotations

import logging
from typing import Final

from prefect_monitoring.analysis.metric_lines import (
    MARK,
    MAX_LABEL_VALUE,
    MAX_LABELS,
    RESERVED_LABELS,
    Observation,
    parse,
)
from prefect_monitoring.flows.run_context import PLAIN_LOGGER, run_logger
from prefect_monitoring.model.metric_lines import Reason

_ESCAPES: Final = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
_RULES: Final = {
    Reason.NAME: "a name is letters, digits and underscores, not a digit first, at most 100 characters",
    Reason.LABEL: (
        f"at most {MAX_LABELS} labels, each named like a metric and at most {MAX_LABEL_VALUE} characters long; the"
        f" exporter sets {', '.join(sorted(RESERVED_LABELS))} itself, and names that start with __ or exported_ are"
        " reserved"
    ),
    Reason.NON_FINITE: "a value is a finite number",
    Reason.MALFORMED: "a label value cannot hold a carriage return",
}


def emit_metric(name: str, value: float, **labels: str) -> None:
    """Logs `METRIC: name{labels}=value` through the run's logger; the exporter exposes it as a metric.

    Works in flows, tasks and subflows, sync and async. Outside a run the line goes to the Python logger
    `prefect_monitoring.flows`. Empty label values are left out, as Prometheus does.

    Raises TypeError for a value that is not a number, and ValueError for a name, a label or a value that breaks a rule.
    """
    line = metric_line(name, value, labels)
    logger = run_logger()
    if logger is not PLAIN_LOGGER and not logger.isEnabledFor(logging.INFO):
        logger.warning("METRIC lines are logged at INFO, which this run's log level leaves out: %s is lost", name)
    logger.info("%s", line)


def metric_line(name: str, value: float, labels: dict[str, str]) -> str:
    """The line for one observation, as `analysis.metric_lines.parse` reads it back. Raises as `emit_metric` does."""
    number = _number(name, value)
    written = [(key, _text(name, key, text)) for key, text in labels.items() if text != ""]
    block = ",".join(f'{key}="{text.translate(_ESCAPES)}"' for key, text in written)
    line = f"{MARK} {name}{{{block}}}={number!r}" if block else f"{MARK} {name}={number!r}"
    parsed = parse(line)
    expected = Observation(name, tuple(sorted(written)), float(number))
    if parsed.observations != (expected,) or parsed.rejected:
        reason = parsed.rejected[0] if parsed.rejected else Reason.NAME
        raise ValueError(f"metric {name!r}: {_RULES.get(reason, reason)}")
    return line


def _number(name: str, value: float) -> float:
    """As a Python int or float: a numpy scalar has another repr."""
    if isinstance(value, (str, bytes, bytearray)):
        raise TypeError(f"metric {name!r}: the value is text, not a number: {value!r}")
    try:
        number = float(value)
    except OverflowError:
        raise ValueError(f"metric {name!r}: {_RULES[Reason.NON_FINITE]}") from None
    except (TypeError, ValueError):
        raise TypeError(f"metric {name!r}: {type(value).__name__} is not a number") from None
    return int(value) if isinstance(value, int) else number


def _text(name: str, label: str, text: object) -> str:
    if not isinstance(text, str):
        raise TypeError(f"metric {name!r}: label {label!r} is {type(text).__name__}, not text")
    return text
