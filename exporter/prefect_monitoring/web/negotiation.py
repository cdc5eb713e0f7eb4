"""Which of two expositions, packed or not, a request's headers ask for.

prometheus-client has functions for both (`choose_encoder`, `gzip_accepted`), which ignore weights: a Prometheus whose
`scrape_protocols` prefers the text format would get OpenMetrics, and who refuses gzip (`gzip;q=0`) would get gzip.
From 0.23 on the first also gives back whatever version was asked for, so that there is no end of formats to keep ready.
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

    OPENMETRICS has to be named, in a version that we have. TEXT where nothing we have is acceptable: /metrics always
    answers.
    """
    choices = list(_choices(accept))
    openmetrics = [
        one.weight
        for one in choices
        if one.name == "application/openmetrics-text" and one.version in _OPENMETRICS_VERSIONS
    ]
    text = [one.weight for name in ("text/plain", "text/*", "*/*") for one in choices if one.name == name]
    preferred = max(openmetrics, default=0.0)
    # What is named exactly comes before a wildcard.
    return OPENMETRICS if preferred > 0 and preferred >= next(iter(text), 0.0) else TEXT


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether an Accept-Encoding header names gzip, and does not refuse it by a weight of 0."""
    return any(one.name == "gzip" and one.weight > 0 for one in _choices(accept_encoding))


def _choices(header: str) -> Iterator[_Choice]:
    for element in header.split(","):
        name, *parameters = (part.strip().lower() for part in element.split(";"))
        values = {key.strip(): value.strip().strip('"') for key, _, value in (one.partition("=") for one in parameters)}
        yield _Choice(name, values.get("version", ""), _weight(values.get("q", "1")))


def _weight(text: str) -> float:
    """A weight; 1 for what is none, as without one."""
    try:
        return min(max(float(text), 0.0), 1.0)
    except ValueError:
        return 1.0
