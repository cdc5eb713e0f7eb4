"""Negotiation of format and compression from request headers, including weights."""

from __future__ import annotations

import pytest
from prometheus_client.exposition import choose_encoder, gzip_accepted

from prefect_monitoring.web.negotiation import OPENMETRICS, TEXT, accepts_gzip, exposition_type

# As Prometheus (scrape/scrape.go, acceptHeader) sends it for `scrape_protocols: [PrometheusText0.0.4,
# OpenMetricsText1.0.0]`.
TEXT_FIRST = "text/plain;version=0.0.4;q=0.3,application/openmetrics-text;version=1.0.0;q=0.2,*/*;q=0.1"


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", TEXT),
        ("*/*", TEXT),
        ("text/plain;version=0.0.4;q=0.5,*/*;q=0.1", TEXT),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", TEXT),
        # Prometheus 2.42, and 3.x with its defaults
        (
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
            "text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            OPENMETRICS,
        ),
        (
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;"
            "version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,"
            "*/*;q=0.2",
            OPENMETRICS,
        ),
        (TEXT_FIRST, TEXT),
        ("application/openmetrics-text", OPENMETRICS),
        ("Application/OpenMetrics-Text; version=1.0.0; q=1.000", OPENMETRICS),
        ("application/openmetrics-text, text/plain", OPENMETRICS),
        ("*/*;q=0.9, application/openmetrics-text;q=0.9", OPENMETRICS),
        ("text/*;q=0.9, application/openmetrics-text;q=0.8", TEXT),
        # An exact match takes precedence over a wildcard.
        ("*/*, text/plain;q=0.1, application/openmetrics-text;q=0.5", OPENMETRICS),
        ("application/openmetrics-text;q=0", TEXT),
        ("application/openmetrics-text;q=0.0, text/plain;q=0.1", TEXT),
        # Unsupported versions
        ("application/openmetrics-text;version=0.0.1", TEXT),
        ("application/openmetrics-text;version=2.0.0, application/openmetrics-text;version=1.0.0;q=0.9", OPENMETRICS),
        ("application/openmetrics-text;version=2.0.0, text/plain;q=0.5", TEXT),
        # Nothing supported: /metrics always answers
        ("application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited", TEXT),
        ("application/openmetrics-text;q=high", OPENMETRICS),
        (",;,=;q", TEXT),
    ],
)
def test_format_is_the_one_the_scraper_prefers(accept: str, content_type: str) -> None:
    assert exposition_type(accept) == content_type


@pytest.mark.parametrize(
    ("encodings", "accepted"),
    [
        ("gzip", True),
        ("gzip, deflate, br", True),
        ("br;q=1.0, GZIP;q=0.8, *;q=0.1", True),
        ("identity", False),
        ("", False),
        ("deflate", False),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("*;q=0.5, gzip;q=0", False),
        ("gzipped", False),
    ],
)
def test_response_is_gzipped_if_accepted(encodings: str, accepted: bool) -> None:
    assert accepts_gzip(encodings) == accepted


def test_library_still_ignores_weights() -> None:
    """Once it supports them, its negotiation can replace ours."""
    assert choose_encoder(TEXT_FIRST)[1].startswith("application/openmetrics-text")
    assert gzip_accepted("gzip;q=0")
