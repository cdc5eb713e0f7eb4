"""The pipelines file: what a team declares about its pipelines, once. docs/pipelines.md explains it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, get_args

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from prefect_monitoring.analysis.failure_causes import KNOWN_CAUSES
from prefect_monitoring.config.faults import did_you_mean, dotted, reason_of
from prefect_monitoring.config.types import Pattern
from prefect_monitoring.config.yaml_lines import Document, NotYamlError, YamlFault, read_yaml
from prefect_monitoring.policy.action_rules import (
    RULES,
    Cancel,
    Notify,
    OnFailure,
    Retry,
    Scale,
    Skip,
    Unresponsive,
    matches,
)
from prefect_monitoring.policy.fields import Declared, LabelName, MetricName, Number, Ratio, Span, Text

Criticality = Literal["critical", "standard", "low"]
AlertOn = Literal["each", "streak"]
CRITICALITIES: Final[tuple[str, ...]] = get_args(Criticality)

MAX_WINDOW_DAYS: Final = 400
_HOUR: Final = 3600.0
_DAY: Final = 86400.0


class PipelinesError(Exception):
    """The pipelines file is wrong; the message has a line for each fault, with file and line number."""


class Limits(Declared):
    """The range in which a custom metric's last value must be; min, max or both."""

    min: Number | None = Field(None, description="Lowest allowed value.")
    max: Number | None = Field(None, description="Highest allowed value.")

    @model_validator(mode="after")
    def _checked(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("give min, max or both")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min ({self.min:g}) is above max ({self.max:g})")
        return self


class Objectives(Declared):
    """The objectives of a pipeline."""

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


class _Policy(Declared):
    criticality: Criticality | None = Field(
        None, description="How much it matters: critical pages at once, low only when failures repeat."
    )
    team: Text | None = Field(None, description="Owning team; notifications are routed by it.")
    labels: dict[LabelName, Text] = Field(
        default_factory=dict, description="Further labels of prefect_pipeline_info, such as domain: finance."
    )
    slo: Objectives = Field(default_factory=Objectives, description="Its objectives.")
    max_pause: Span | None = Field(None, description="How long its deployment may stay paused before an alert fires.")
    alert_on: AlertOn | None = Field(
        None, description="each: alert on each run that fails for good. streak: only on runs that fail in a row."
    )
    retry: Retry | None = Field(None, description="Run it again when it failed for good (serve --act).")
    skip: Skip | None = Field(None, description="End runs that are too late instead of starting them (serve --act).")
    unresponsive: Unresponsive | None = Field(
        None, description="End runs that sent heartbeats and stopped (serve --act)."
    )
    retry_unresponsive: bool | None = Field(
        None,
        description="Let retry also rerun runs that unresponsive marked Crashed; their processes may still be working."
        " Default false.",
    )
    notify: Notify | None = Field(None, description="Messages that Prefect itself sends (automations apply).")


class Defaults(_Policy):
    """Values for every deployment, unless its entry or one of its tags overrides them."""


class PipelineEntry(_Policy):
    """One pipeline, or all that its patterns match."""

    flow: Pattern = Field(description="The flow's name, or a regular expression that matches whole names.")
    deployment: Pattern = Field(
        ".+",
        description='The deployment\'s name or pattern. Default: every deployment. "": runs without a deployment'
        " (from a script, or subflows), which alert only if an entry names them this way.",
    )
    metrics: dict[MetricName, Limits] = Field(
        default_factory=dict, description="Limits for the values of METRIC log lines, by name."
    )
    on_failure: OnFailure | None = Field(None, description="Deployments to pause while its last run failed for good.")
    scale: Scale | None = Field(None, description="More slots for a work pool while a run takes too long.")
    cancel: Cancel | None = Field(None, description="Runs that Prefect itself ends (automations apply).")

    @field_validator("on_failure")
    @classmethod
    def _pauses_others(cls, rule: OnFailure | None, info: ValidationInfo) -> OnFailure | None:
        if rule is not None and {"flow", "deployment"} <= info.data.keys():
            for target in rule.targets:
                if matches(info.data["flow"], info.data["deployment"], target):
                    raise ValueError(f"pauses itself: the entry matches {target}")
        return rule

    @model_validator(mode="after")
    def _can_act(self) -> Self:
        if self.deployment == "" and (self.retry is not None or self.skip is not None):
            raise ValueError("runs without a deployment cannot be retried or skipped: Prefect refuses it")
        return self


class PipelinesFile(Declared):
    """The whole file. If several entries match, the first applies."""

    defaults: Defaults = Field(default_factory=Defaults, description="Values unless an entry overrides them.")
    pipelines: tuple[PipelineEntry, ...] = Field((), description="The first entry that matches a deployment applies.")


def read_pipelines(path: Path) -> str:
    """The text of the file. Raises PipelinesError when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise PipelinesError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise PipelinesError(f"{path} is not UTF-8") from None


def parse_pipelines(text: str, name: str, causes: Collection[str] = KNOWN_CAUSES) -> PipelinesFile:
    """The declarations in `text`, the content of the file `name`; `causes` are the failure causes that exist.

    Raises PipelinesError with every fault.
    """
    try:
        document = read_yaml(text)
        content = {} if document.content is None else document.content
        return PipelinesFile.model_validate(content, context={"causes": causes})
    except NotYamlError as error:
        faults = error.faults
    except ValidationError as error:
        faults = tuple(_fault(dict(detail), document) for detail in error.errors(include_url=False))
    lines = sorted(faults, key=lambda fault: fault.line)
    raise PipelinesError("\n".join(f"{name}:{fault.line}: {fault.text}" for fault in lines))


def _fault(error: Mapping[str, Any], document: Document) -> YamlFault:
    path = tuple(step for step in error["loc"] if step != "[key]")
    place, advice = dotted(path), _advice(error, path)
    return YamlFault(document.line_of(path), f"{place}: {advice}" if place else advice)


def _advice(error: Mapping[str, Any], path: tuple[object, ...]) -> str:
    match error["type"]:
        case "extra_forbidden":
            meant = did_you_mean(str(error["loc"][-1]), _KEYS)
            return "there is no such key; " + (f"did you mean `{meant}`?" if meant else "docs/pipelines.md lists them")
        case "model_type" | "model_attributes_type":
            return "must hold keys, as `key: value` lines"
        case "tuple_type":
            return f"must be a list{': begin each entry with `- flow: …`' if path == ('pipelines',) else ''}"
        case _:
            return reason_of(error)


_MODELS: Final[tuple[type[Declared], ...]] = (PipelinesFile, PipelineEntry, Objectives, Limits, *RULES.values())
_KEYS: Final = sorted({key for model in _MODELS for key in model.model_fields})
