"""How the values of the pipelines file are written, beyond the types of options."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from prefect_monitoring.config.types import Duration

# Labels that already have a meaning on our series or on the alerts.
RESERVED_LABELS: Final = frozenset(
    {
        *("flow", "deployment", "criticality", "team", "tags", "workspace", "job", "instance"),
        *("severity", "alertname", "task", "metric", "state"),
    }
)


def _parse_ratio(value: object) -> object:
    if isinstance(value, str) and (found := re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", value)):
        return float(found[1]) / 100
    return value


def _ratio(value: float) -> float:
    if not 0 < value <= 1:
        raise ValueError(f"{value:g} is not a success ratio: write 0.99 or 99%")
    return value


def _share(value: float) -> float:
    if not 0 <= value < 1:
        raise ValueError(f"{value:g} is not a share below 1: write 0.1 or 10%")
    return value


def _label(name: str) -> str:
    if not re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", name) or name.startswith("__"):
        raise ValueError(f"{name!r} is not a label name: letters, digits and underscores, no digit first")
    if name in RESERVED_LABELS:
        raise ValueError(f"{name!r} is reserved: choose another label")
    return name


Span = Annotated[
    Duration,
    Field(gt=0),
    WithJsonSchema({"type": "string", "pattern": r"^(\d+(\.\d+)?(ms|[smhdw]))+$", "examples": ["30m", "1h30m", "30d"]}),
]
_PERCENT: Final = {"type": "string", "pattern": r"^[\d.]+ *%$"}
Ratio = Annotated[
    float,
    AfterValidator(_ratio),
    BeforeValidator(_parse_ratio),
    WithJsonSchema({"anyOf": [{"type": "number", "exclusiveMinimum": 0, "maximum": 1}, _PERCENT]}),
]
Share = Annotated[
    float,
    AfterValidator(_share),
    BeforeValidator(_parse_ratio),
    WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0, "exclusiveMaximum": 1}, _PERCENT]}),
]
LabelName = Annotated[str, AfterValidator(_label)]
MetricName = Annotated[str, Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$")]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Text = Annotated[str, Field(min_length=1, max_length=200)]


class Declared(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
