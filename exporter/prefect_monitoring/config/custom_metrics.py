"""Declarations of users' metrics: where values come from, and under which name and type they are exposed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Final, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from prefect_monitoring.analysis.metric_lines import RESERVED_LABELS, RESERVED_PREFIXES
from prefect_monitoring.config.faults import did_you_mean
from prefect_monitoring.config.metric_names import exposed_names, name_fault
from prefect_monitoring.config.types import Notation, parse_yaml
from prefect_monitoring.model.counted_metrics import CountedMetric, Kind
from prefect_monitoring.model.cursor import ASSET_EVENTS, LOG_LINES, trend_cursor

Type = Literal["gauge", "counter", "histogram"]

RUN_LABELS: Final = ("flow", "deployment", "task")
_TAKEN_LABELS: Final = RESERVED_LABELS - set(RUN_LABELS)
_SOURCES: Final = ("metric_line", "variable", "block", "asset_metadata")
_KINDS: Final[Mapping[str, Kind]] = {"gauge": "last_value", "counter": "counter", "histogram": "histogram"}


def _known_type(text: object) -> object:
    if isinstance(text, str) and text not in get_args(Type):
        meant = did_you_mean(text, get_args(Type))
        advice = f"; did you mean `{meant}`?" if meant else ""
        raise ValueError(f"{text!r} is not a type: write gauge, counter or histogram{advice}")
    return text


def _label(name: str) -> str:
    if not re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]{0,99}", name):
        raise ValueError(f"{name!r} is not a label name: letters, digits and underscores, no digit first")
    if name in _TAKEN_LABELS or name.startswith(RESERVED_PREFIXES):
        raise ValueError(f"{name!r} clashes with a label that Prometheus or the exporter sets: choose another")
    return name


class _Declared(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Source(_Declared):
    """Where the values of a metric come from."""

    metric_line: Annotated[str, Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]{0,99}$")] | None = Field(
        None, description="Name in METRIC lines. Default: the name of the metric."
    )
    variable: Annotated[str, Field(pattern=r"^[a-z0-9_-]+$")] | None = Field(
        None, description="Name of a Prefect Variable that holds a list of points."
    )
    block: Annotated[str, Field(pattern=r"^[a-z0-9-]+/[a-z0-9-]+$")] | None = Field(
        None, description="A block that holds a list of points, as type-slug/name, such as pipeline-metrics/orders."
    )
    asset_metadata: Annotated[str, Field(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]{0,99}$")] | None = Field(
        None, description="Name of a number in the metadata of assets."
    )
    field: str | None = Field(None, description="Field of a point that holds the number.")
    timestamp: str = Field("timestamp", description="Field of a point that holds its timestamp.")
    points: str = Field("points", description="Field that holds the list, unless the Variable is the list.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        given = [key for key in _SOURCES if getattr(self, key) is not None]
        if len(given) > 1:
            raise fault_at((given[1],), f"a metric has one source: {given[0]} is given as well")
        if self.store and not self.field:
            raise fault_at((given[0],), "points have several numbers: say which with `field`, such as row_count")
        if self.field and not self.store:
            raise fault_at(("field",), "only points of a variable or a block have fields")
        return self

    @property
    def store(self) -> str:
        """The trend store, in words; "" if there is none."""
        if self.variable:
            return f"the Variable {self.variable}"
        return f"the block {self.block}" if self.block else ""


class CustomMetric(_Declared):
    """A metric that the user declares."""

    name: str = Field(description="Full name, as Prometheus gets it.")
    type: Annotated[Type, BeforeValidator(_known_type)] = Field(
        description="A gauge is the last value, a counter adds values up, a histogram observes them."
    )
    help: Annotated[str, Field(min_length=1, max_length=500, pattern=r"^[^\r\n]+$")] = Field(
        description="What it is about, in one line."
    )
    unit: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")] | None = Field(
        None, description="Base unit, with which the name ends: seconds, bytes, rows."
    )
    source: Source = Field(default_factory=Source, description="Where values come from.")
    labels: tuple[Annotated[str, AfterValidator(_label)], ...] | None = Field(
        None, description="Labels to keep; values are summed over all others. Default: all labels."
    )
    buckets: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...] = Field(
        (), max_length=50, description="Upper bounds of a histogram, ascending; +Inf is added."
    )
    enabled: bool = Field(default=True, description="Off: it is neither counted nor exposed.")
    max_series: int = Field(1000, gt=0, description="Most label sets; values of further ones are rejected and counted.")
    keep_generic: bool = Field(
        default=True, description="Whether METRIC lines of this name go to prefect_custom_metric_* as well."
    )
    _place: str = PrivateAttr("custom_metrics")

    @field_validator("labels")
    @classmethod
    def _clash_free(cls, labels: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if labels is not None:
            twice = sorted({label for label in labels if labels.count(label) > 1})
            if twice:
                raise ValueError(f"labels clash: {', '.join(twice)} given more than once")
            if "deployment" in labels and "flow" not in labels:
                raise ValueError("deployment is a name within a flow: keep flow as well")
        return labels

    @field_validator("buckets")
    @classmethod
    def _ascending(cls, buckets: tuple[float, ...]) -> tuple[float, ...]:
        if list(buckets) != sorted(set(buckets)):
            raise ValueError("bucket bounds ascend, and each is given once")
        return buckets

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if fault := name_fault(self.name, self.type, self.unit or ""):
            raise fault_at(("name",), fault)
        if bool(self.buckets) != (self.type == "histogram"):
            advice = "a histogram needs buckets" if not self.buckets else f"a {self.type} has no buckets"
            raise fault_at(("buckets" if self.buckets else "type",), advice)
        return self

    @property
    def place(self) -> str:
        """Where it was declared, for messages: file and line."""
        return self._place

    def placed(self, place: str) -> Self:
        self._place = place
        return self

    @property
    def reported_name(self) -> str:
        """Its name in METRIC lines or in the metadata of assets."""
        return self.source.metric_line or self.source.asset_metadata or self.name

    @property
    def cursor(self) -> str:
        """The cursor of its source."""
        if self.source.asset_metadata:
            return ASSET_EVENTS
        return trend_cursor(self.name) if self.is_trend else LOG_LINES

    @property
    def is_trend(self) -> bool:
        """Whether its values come from a trend store."""
        return bool(self.source.store)

    @property
    def run_labels(self) -> tuple[str, ...]:
        """The labels that come from the run."""
        if self.cursor != LOG_LINES:
            return ()
        return tuple(label for label in RUN_LABELS if self.labels is None or label in self.labels)

    @property
    def own_labels(self) -> tuple[str, ...] | None:
        """The labels that do not come from the run; None for all."""
        if self.is_trend:
            return self.labels or ()
        if self.labels is None:
            return None
        return tuple(label for label in self.labels if label not in self.run_labels)

    @property
    def row(self) -> CountedMetric:
        """How the ledger counts it; the labels that the user declares are added."""
        return CountedMetric(
            self.name,
            kind=_KINDS[self.type],
            sources=(self.cursor,),
            labels=self.run_labels,
            buckets=self.buckets,
            backfilled=self.type != "gauge" and self.cursor == LOG_LINES,
        )


Location = tuple[int | str, ...]


def fault_at(location: Location, message: str) -> ValidationError:
    """A fault of one key, found by a check of the whole."""
    return _faults([(location, message)])


def _faults(faults: Sequence[tuple[Location, str]]) -> ValidationError:
    details = [
        InitErrorDetails(type=PydanticCustomError("value_error", _escaped(text)), loc=location, input=None)
        for location, text in faults
    ]
    return ValidationError.from_exception_data("custom_metrics", details)


def _escaped(text: str) -> Any:
    """Braces are the placeholders of pydantic's templates."""
    return text.replace("{", "(").replace("}", ")")


def _distinct(metrics: tuple[CustomMetric, ...]) -> tuple[CustomMetric, ...]:
    if faults := list(_clashes(metrics)):
        raise _faults(faults)
    return metrics


def _clashes(metrics: tuple[CustomMetric, ...]) -> Iterator[tuple[Location, str]]:
    taken: dict[str, str] = {}
    for index, metric in enumerate(metrics):
        names = exposed_names(metric.name, metric.type)
        if clash := next((taken[name] for name in sorted(names) if name in taken), None):
            yield (index, "name"), f"{metric.name!r} clashes with {clash!r}, which is declared above"
        taken.update(dict.fromkeys(names, metric.name))


CustomMetrics = Annotated[
    tuple[CustomMetric, ...],
    BeforeValidator(parse_yaml),
    AfterValidator(_distinct),
    Notation("YAML", lambda _: ""),
]
KEYS: Final = tuple(sorted({key for model in (CustomMetric, Source) for key in model.model_fields}))
