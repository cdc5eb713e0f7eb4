"""The pipelines file: what a team declares about its pipelines, once. docs/pipelines.md explains it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from prefect_monitoring.config.faults import did_you_mean, dotted, reason_of
from prefect_monitoring.config.types import Duration, Pattern
from prefect_monitoring.config.yaml_lines import Document, NotYamlError, YamlFault, read_yaml

Criticality = Literal["critical", "standard", "low"]
CRITICALITIES: Final[tuple[str, ...]] = get_args(Criticality)

# What has a meaning of its own on our series or on the alerts that are made of them.
RESERVED_LABELS: Final = frozenset(
    {
        *("flow", "deployment", "criticality", "team", "tags", "workspace", "job", "instance"),
        *("severity", "alertname", "task", "metric", "state"),
    }
)
MAX_WINDOW_DAYS: Final = 400
_HOUR: Final = 3600.0
_DAY: Final = 86400.0


class PipelinesError(Exception):
    """The pipelines file is wrong; the message has a line for each fault, with file and line number."""


def _parse_ratio(value: object) -> object:
    if isinstance(value, str) and (found := re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", value)):
        return float(found[1]) / 100
    return value


def _ratio(value: float) -> float:
    if not 0 < value <= 1:
        raise ValueError(f"{value:g} is not a success ratio: write 0.99 or 99%")
    return value


def _label(name: str) -> str:
    if not re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", name) or name.startswith("__"):
        raise ValueError(f"{name!r} is not a label name: letters, digits and underscores, no digit first")
    if name in RESERVED_LABELS:
        raise ValueError(f"{name!r} has a meaning of its own: choose another label")
    return name


Span = Annotated[
    Duration,
    Field(gt=0),
    WithJsonSchema({"type": "string", "pattern": r"^(\d+(\.\d+)?(ms|[smhdw]))+$", "examples": ["30m", "1h30m", "30d"]}),
]
Ratio = Annotated[
    float,
    AfterValidator(_ratio),
    BeforeValidator(_parse_ratio),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
                {"type": "string", "pattern": r"^[\d.]+ *%$"},
            ]
        }
    ),
]
LabelName = Annotated[str, AfterValidator(_label)]
MetricName = Annotated[str, Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*$")]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Text = Annotated[str, Field(min_length=1, max_length=200)]


class _Declared(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Limits(_Declared):
    """The range that a custom metric's last value has to be in; one of the two at least."""

    min: Number | None = Field(None, description="The least value that is all right.")
    max: Number | None = Field(None, description="The greatest value that is all right.")

    @model_validator(mode="after")
    def _checked(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("give min, max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min ({self.min:g}) is above max ({self.max:g})")
        return self


class Objectives(_Declared):
    """What a pipeline promises."""

    max_duration: Span | None = Field(None, description="A run that takes longer is an incident.")
    min_success_ratio: Ratio | None = Field(
        None, description="Share of runs over the window that complete: 0.99 or 99%. Default 99%."
    )
    window: Annotated[Span, Field(ge=_HOUR, le=MAX_WINDOW_DAYS * _DAY)] | None = Field(
        None, description="The time over which min_success_ratio is judged, 1h to 400d. Default 30d."
    )
    max_staleness: Span | None = Field(
        None, description="A success has to be younger than this. Default: one has to follow each scheduled start."
    )
    grace: Span | None = Field(
        None, description="How much later than due, and than a run usually takes, a success may be. Default 30m."
    )


class _Policy(_Declared):
    criticality: Criticality | None = Field(
        None, description="How much it matters: critical pages at once, low only when failures repeat."
    )
    team: Text | None = Field(None, description="Whose it is; messages are routed by it.")
    labels: dict[LabelName, Text] = Field(
        default_factory=dict, description="Further labels of prefect_pipeline_info, such as domain: finance."
    )
    slo: Objectives = Field(default_factory=Objectives, description="What it promises.")
    max_pause: Span | None = Field(None, description="How long its deployment may stay paused before that is told.")


class Defaults(_Policy):
    """What holds for every deployment unless its entry, or one of its tags, says otherwise."""


class Pipeline(_Policy):
    """A pipeline, or several that have a pattern in common."""

    flow: Pattern = Field(description="The flow's name, or a regular expression that matches whole names.")
    deployment: Pattern = Field(
        ".+",
        description='The deployment\'s name or pattern. Default: every deployment. "": runs without a deployment'
        " (from a script, or subflows), which nobody is told of unless an entry names them so.",
    )
    metrics: dict[MetricName, Limits] = Field(
        default_factory=dict, description="Limits for the values of METRIC log lines, by name."
    )


class PipelinesFile(_Declared):
    """The whole file. Of several entries that match, the first counts."""

    defaults: Defaults = Field(default_factory=Defaults, description="What holds where no entry says otherwise.")
    pipelines: tuple[Pipeline, ...] = Field((), description="The first entry that matches a deployment counts.")


def read_pipelines(path: Path) -> str:
    """The text of the file. Raises PipelinesError when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise PipelinesError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise PipelinesError(f"{path} is not UTF-8") from None


def parse_pipelines(text: str, name: str) -> PipelinesFile:
    """The declarations in `text`, the content of the file `name`. Raises PipelinesError with every fault."""
    try:
        document = read_yaml(text)
        return PipelinesFile.model_validate({} if document.content is None else document.content)
    except NotYamlError as error:
        faults = error.faults
    except ValidationError as error:
        faults = tuple(_fault(dict(one), document) for one in error.errors(include_url=False))
    lines = sorted(faults, key=lambda fault: fault.line)
    raise PipelinesError("\n".join(f"{name}:{fault.line}: {fault.text}" for fault in lines))


def _fault(error: Mapping[str, Any], document: Document) -> YamlFault:
    path = tuple(step for step in error["loc"] if step != "[key]")
    place = dotted(path)
    return YamlFault(document.line_of(path), f"{place}: {_advice(error)}" if place else _advice(error))


def _advice(error: Mapping[str, Any]) -> str:
    match error["type"]:
        case "extra_forbidden":
            meant = did_you_mean(str(error["loc"][-1]), _KEYS)
            return "there is no such key; " + (f"did you mean `{meant}`?" if meant else "docs/pipelines.md lists them")
        case "model_type" | "model_attributes_type":
            return "must hold keys, as `key: value` lines"
        case "tuple_type":
            return "must be a list: begin each entry with `- flow: …`"
        case _:
            return reason_of(error)


_KEYS: Final = sorted({key for model in (PipelinesFile, Pipeline, Objectives, Limits) for key in model.model_fields})
