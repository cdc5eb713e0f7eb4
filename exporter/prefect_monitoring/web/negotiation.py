"""Content negotiation: which exposition format a request prefers, and whether it accepts gzip.

prometheus-client has functions for both (`choose_encoder`, `gzip_accepted`), which ignore weights: a Prometheus whose
`scrape_protocols` prefers the text format would get OpenMetrics, and a client with `gzip;q=0` would get gzip.
From 0.23 on, `choose_encoder` also echoes any version that was asked for: the formats to keep ready would be unlimited.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_OPENMETRICS_VERSIONS: Final = frozenset({"", "1.0.0"})


@dataclass(frozen=True, slots=True)
class _Choice:
    """One element of an Accept or Accept-Encoding header (RFC 9110, 12.5): its name, version and weight, 0 to 1."""

    name: str
    version: str
    weight: float


def exposition_type(accept: str) -> str:
    """The content type that an Accept header prefers: TEXT or OPENMETRICS.

    OPENMETRICS has to be named, in a supported version. TEXT if no supported type is acceptable: /metrics always
    answers.
    """
    choices = list(_choices(accept))
    openmetrics = [
        choice.weight
        for choice in choices
        if choice.name == "application/openmetrics-text" and choice.version in _OPENMETRICS_VERSIONS
    ]
    text = [choice.weight for name in ("text/plain", "text/*", "*/*") for choice in choices if choice.name == name]
    preferred = max(openmetrics, default=0.0)
    # An exact name takes precedence over a wildcard.
    return OPENMETRICS if preferred > 0 and preferred >= next(iter(text), 0.0) else TEXT


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether an Accept-Encoding header names gzip, and does not refuse it by a weight of 0."""
    return any(choice.name == "gzip" and choice.weight > 0 for choice in _choices(accept_encoding))


def _choices(header: str) -> Iterator[_Choice]:
    for element in header.split(","):
        name, *parameters = (part.strip().lower() for part in element.split(";"))
        pairs = (parameter.partition("=") for parameter in parameters)
        values = {key.strip(): value.strip().strip('"') for key, _, value in pairs}
        yield _Choice(name, values.get("version", ""), _weight(values.get("q", "1")))


def _weight(text: str) -> float:
    """The weight in `text`; 1 if it is not a number, as without a weight."""
    try:
        return min(max(float(text), 0.0), 1.0)
    except ValueError:
        return 1.0
