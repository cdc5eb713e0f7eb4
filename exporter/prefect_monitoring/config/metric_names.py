"""Rules for the names of users' metrics: the conventions of Prometheus, and names that are taken."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

_SUFFIXES: Final = ("total", "sum", "count", "bucket", "created", "info")
# Words in names for which `promtool check metrics` wants a base unit.
_BASE_UNITS: Final = {
    **dict.fromkeys(("minutes", "hours", "days", "weeks"), "seconds"),
    **dict.fromkeys(("fahrenheit", "rankine"), "celsius"),
    **dict.fromkeys(("inches", "yards", "miles"), "meters"),
    **dict.fromkeys(("pounds", "ounces"), "grams"),
    "kelvins": "kelvin",
    "bits": "bytes",
    "calories": "joules",
    "percent": "ratio",
}
_UNITS: Final = ("amperes", "bytes", "celsius", "grams", "joules", "kelvin", "meters", "metres", "seconds", "volts")
_PREFIXED: Final = re.compile(
    r"(?:pico|nano|micro|milli|centi|deci|deca|hecto|kilo|kibi|mega|mebi|mibi|giga|gibi|tera|tebi|peta|pebi)"
    rf"({'|'.join(_UNITS)})"
)
_SECONDS: Final = ("s", "ms", "us", "ns", "sec", "m", "h", "d")
_ABBREVIATIONS: Final = {
    **dict.fromkeys(_SECONDS, "seconds"),
    **dict.fromkeys(("b", "kb", "mb", "gb", "tb", "pb"), "bytes"),
}
# Faults of names whose beginning matches; the first one is reported.
_RULES: Final = tuple(
    (re.compile(pattern), advice)
    for pattern, advice in (
        (r".*:", "colons are for the names of recording rules: write underscores"),
        (r"(?![a-zA-Z][a-zA-Z0-9_]{0,199}\Z)", "a name is letters, digits and underscores, a letter first"),
        (r"prefect_", "names that begin with prefect_ are the exporter's"),
        (
            r"(?:up|target_info|ALERTS\w*|(?:scrape|go|process|python|promhttp)_\w*)\Z",
            "the name belongs to Prometheus or its client libraries",
        ),
        (r".*[a-z][A-Z]", "names are written in snake_case"),
        (r".*_(?:gauge|counter|histogram|summary)(?:_|\Z)", "the type does not belong in the name"),
    )
)


def name_fault(name: str, kind: str, unit: str) -> str | None:
    """What is wrong with the name of a metric of this type and unit ("" for none); None for a good one."""
    return next(_faults(name, kind, unit), None)


def _faults(name: str, kind: str, unit: str) -> Iterator[str]:
    for pattern, advice in _RULES:
        if pattern.match(name):
            yield f"{name!r} cannot be used: {advice}"
    is_counter = kind == "counter"
    if is_counter and not name.endswith("_total"):
        yield f"{name!r} is a counter, and names of counters end in _total; did you mean `{name}_total`?"
    base = name.removesuffix("_total") if is_counter else name
    for suffix in _SUFFIXES:
        if base.endswith(f"_{suffix}"):
            yield f"{name!r} cannot be used: the suffix _{suffix} is not for the name of a {kind}"
    for word in base.lower().split("_")[1:]:
        if instead := base_unit(word):
            yield f"{name!r} holds the unit {word}: give values in {instead}, the base unit, and name it so"
    if unit and not base.endswith(f"_{unit}"):
        meant = f"{base}_{unit}{'_total' if is_counter else ''}"
        yield f"{name!r} has the unit {unit}, which belongs at the end of its name; did you mean `{meant}`?"


def base_unit(word: str) -> str | None:
    """The base unit to write instead of `word`; None if that is no unit, or a base unit."""
    prefixed = _PREFIXED.fullmatch(word)
    return prefixed[1] if prefixed else _BASE_UNITS.get(word) or _ABBREVIATIONS.get(word)


def exposed_names(name: str, kind: str) -> frozenset[str]:
    """Every name that the metric takes in an exposition: its family's, and those of its samples."""
    if kind == "gauge":
        return frozenset({name})
    base = name.removesuffix("_total")
    ends = ("total", "created") if kind == "counter" else ("bucket", "sum", "count", "created")
    return frozenset({base, *(f"{base}_{end}" for end in ends)})
