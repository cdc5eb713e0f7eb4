"""What CloudWatch's PutMetricData takes: checked data, and requests within AWS's limits. Pure.

Limits: https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricData.html, API_MetricDatum.html.
"""

from __future__ import annotations

import gzip
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

MAX_DATA: Final = 1_000
MAX_BYTES: Final = 1_000_000
MAX_VALUES: Final = 150
MAX_DIMENSIONS: Final = 30
MAX_AGE_SECONDS: Final = 14 * 86400
MAX_AHEAD_SECONDS: Final = 2 * 3600
_MAX_NAME: Final = 255
_MAX_DIMENSION_VALUE: Final = 1024
_LARGEST: Final = 2.0**360
_SMALLEST: Final = 2.0**-360
_RESOLUTIONS: Final = (1, 60)
_RATES: Final = ("Bytes", "Kilobytes", "Megabytes", "Gigabytes", "Terabytes")
_BIT_RATES: Final = ("Bits", "Kilobits", "Megabits", "Gigabits", "Terabits")
UNITS: Final = frozenset(
    {
        *("None", "Count", "Count/Second", "Percent", "Seconds", "Milliseconds", "Microseconds"),
        *(f"{unit}{per}" for unit in _RATES + _BIT_RATES for per in ("", "/Second")),
    }
)
_NAMESPACE: Final = re.compile(r"(?!AWS/)[0-9A-Za-z._/#: -]{1,255}")
_PRINTABLE: Final = re.compile(r"[\x20-\x7e]*[\x21-\x7e][\x20-\x7e]*")

Dimensions = tuple[tuple[str, str], ...]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Datum:
    """Values of one metric at one time; `values[i]` was seen `counts[i]` times.

    `dimensions` are sorted by name, `timestamp` is in Unix seconds, `resolution` in seconds: 1 or 60.
    """

    name: str
    dimensions: Dimensions
    unit: str
    timestamp: float
    values: tuple[float, ...]
    counts: tuple[float, ...] = (1.0,)
    resolution: int = 60


def check_namespace(namespace: str) -> str:
    """`namespace`; ValueError where AWS refuses it."""
    if not _NAMESPACE.fullmatch(namespace) or namespace.startswith(":"):
        raise ValueError(
            f"namespace {namespace!r}: 1 to 255 letters, digits, spaces and . - _ / # : are allowed, no colon first,"
            " and AWS/ is reserved"
        )
    return namespace


def make_datum(
    name: str, value: float, unit: str, dimensions: Mapping[str, str], timestamp: float, *, resolution: int = 60
) -> Datum:
    """A datum of one value; ValueError with the rule of AWS that it breaks, but for its age: `is_in_time`.

    Dimensions with an empty value are left out, since AWS refuses them.
    """
    kept = tuple(sorted((key, text) for key, text in dimensions.items() if text != ""))
    for rule in _broken_rules(name, value, unit, kept, resolution):
        raise ValueError(f"metric {name!r}: {rule}")
    return Datum(name, kept, unit, timestamp, (float(value),), (1.0,), resolution)


def _broken_rules(name: str, value: float, unit: str, dimensions: Dimensions, resolution: int) -> Iterator[str]:
    if not _is_text(name, _MAX_NAME):
        yield f"a name has 1 to {_MAX_NAME} printable ASCII characters"
    if unit not in UNITS:
        yield f"{unit!r} is no unit of CloudWatch; it has {', '.join(sorted(UNITS))}"
    if not math.isfinite(value) or abs(value) > _LARGEST or 0 < abs(value) < _SMALLEST:
        yield f"{value} is not a finite number that CloudWatch can hold"
    if len(dimensions) > MAX_DIMENSIONS:
        yield f"{len(dimensions)} dimensions, at most {MAX_DIMENSIONS} are allowed"
    for key, text in dimensions:
        if not _is_text(key, _MAX_NAME) or key.startswith(":"):
            yield f"dimension {key!r}: a name has 1 to {_MAX_NAME} printable ASCII characters, no colon first"
        if not _is_text(text, _MAX_DIMENSION_VALUE):
            yield f"dimension {key}: a value has 1 to {_MAX_DIMENSION_VALUE} printable ASCII characters"
    if resolution not in _RESOLUTIONS:
        yield f"the resolution is 1 or 60 seconds, not {resolution}"


def _is_text(text: object, longest: int) -> bool:
    return isinstance(text, str) and len(text) <= longest and bool(_PRINTABLE.fullmatch(text))


def is_in_time(datum: Datum, now: float) -> bool:
    """Whether CloudWatch takes a timestamp like this at `now` (Unix seconds)."""
    return now - MAX_AGE_SECONDS <= datum.timestamp <= now + MAX_AHEAD_SECONDS


def merge(data: Iterable[Datum]) -> list[Datum]:
    """The same values in as few data as possible: what one metric had within one period is one datum with counts.

    Timestamps become the beginning of their period: CloudWatch keeps no finer ones.
    """
    grouped: dict[tuple[str, Dimensions, str, float, int], dict[float, float]] = defaultdict(lambda: defaultdict(float))
    for datum in data:
        period = datum.timestamp // datum.resolution * datum.resolution
        counted = grouped[datum.name, datum.dimensions, datum.unit, period, datum.resolution]
        for value, count in zip(datum.values, datum.counts, strict=True):
            counted[value] += count
    return [
        Datum(name, dimensions, unit, period, tuple(part), tuple(counted[value] for value in part), resolution)
        for (name, dimensions, unit, period, resolution), counted in grouped.items()
        for part in _parts(list(counted), MAX_VALUES)
    ]


def requests(namespace: str, data: Sequence[Datum]) -> Iterator[dict[str, Any]]:
    """Arguments for boto3's `put_metric_data`, one dict per request, in the order of `data`.

    Sizes are bounded as gzipped, which boto3 does by itself for requests above 10 KiB.
    """
    for part in _parts(data, MAX_DATA):
        for fitting in _within_size(part):
            yield {"Namespace": namespace, "MetricData": [_member(datum) for datum in fitting]}


def _within_size(data: Sequence[Datum]) -> Iterator[Sequence[Datum]]:
    """Halves `data` until each part fits; a single datum within the limits above always does."""
    if len(data) <= 1 or _size(data) <= MAX_BYTES:
        yield data
        return
    middle = len(data) // 2
    yield from _within_size(data[:middle])
    yield from _within_size(data[middle:])


def _size(data: Sequence[Datum]) -> int:
    """An upper bound: the longest of AWS's encodings (query), compressed less than boto3 does."""
    plain = "".join(_query_form(index, datum) for index, datum in enumerate(data, start=1)).encode()
    return len(plain) if len(plain) <= MAX_BYTES else len(gzip.compress(plain, compresslevel=1))


def _query_form(index: int, datum: Datum) -> str:
    prefix = f"MetricData.member.{index}"
    fields = {
        "MetricName": datum.name,
        "Unit": datum.unit,
        "Timestamp": "2026-01-01T00:00:00Z",
        "StorageResolution": 60,
    }
    listed = [("Values", datum.values), ("Counts", datum.counts)]
    pairs: list[tuple[str, object]] = [(f"{prefix}.{key}", text) for key, text in fields.items()]
    pairs += [(f"{prefix}.{key}.member.{at}", repr(number)) for key, part in listed for at, number in enumerate(part)]
    for at, (key, text) in enumerate(datum.dimensions):
        pairs += [(f"{prefix}.Dimensions.member.{at}.Name", key), (f"{prefix}.Dimensions.member.{at}.Value", text)]
    return "&" + urlencode(pairs)


def _member(datum: Datum) -> dict[str, Any]:
    return {
        "MetricName": datum.name,
        "Dimensions": [{"Name": key, "Value": text} for key, text in datum.dimensions],
        "Unit": datum.unit,
        "Timestamp": datetime.fromtimestamp(datum.timestamp, UTC),
        "Values": list(datum.values),
        "Counts": list(datum.counts),
        "StorageResolution": datum.resolution,
    }


def _parts(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))
