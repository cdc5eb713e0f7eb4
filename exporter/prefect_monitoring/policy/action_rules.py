"""The rules of the pipelines file that act on Prefect, such as retry and on_failure. Tags cannot declare them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Final, Literal, NamedTuple, Self

from pydantic import AfterValidator, Field, ValidationInfo, WithJsonSchema, model_validator

from prefect_monitoring.analysis.durations import format_duration
from prefect_monitoring.analysis.failure_causes import KNOWN_CAUSES
from prefect_monitoring.policy.fields import Declared, Share, Span, Text

MAX_RETRIES: Final = 20
MAX_SLOTS: Final = 10_000
_MINUTE: Final = 60.0
_DAY: Final = 86400.0
_LONGEST_WAIT: Final = 7 * _DAY

# Who carries out a rule that both could: the exporter (`serve --act`), or Prefect's own automations
# (`prefect-monitoring automations apply`). Only one, so that a deployment is not paused twice and resumed once.
Actor = Literal["exporter", "prefect"]
FailedState = Literal["failed", "crashed"]


class DeploymentName(NamedTuple):
    """A deployment as people and Prefect's CLI name it: flow/deployment. Neither name can hold a slash."""

    flow: str
    deployment: str

    def __str__(self) -> str:
        return f"{self.flow}/{self.deployment}"


def _deployment(text: str) -> str:
    parts = text.split("/")
    if len(parts) != 2 or not all(parts):  # noqa: PLR2004 a flow and a deployment
        raise ValueError(f"{text!r} is not a deployment: write flow/deployment, such as lightdash-refresh/production")
    return text


def _cause(name: str, info: ValidationInfo) -> str:
    known = (info.context or {}).get("causes", KNOWN_CAUSES)
    if name not in known:
        raise ValueError(f"{name!r} is not a failure cause; there are {', '.join(sorted(known))}")
    return name


Deployment = Annotated[str, AfterValidator(_deployment), WithJsonSchema({"type": "string", "pattern": "^[^/]+/[^/]+$"})]
Cause = Annotated[str, AfterValidator(_cause)]
BlockName = Annotated[str, Field(pattern=r"^[a-z0-9-]+$", max_length=200)]


class Retry(Declared):
    """Runs that failed for good are run again: the same run, after a delay, at most `max` times."""

    max: Annotated[int, Field(strict=True, ge=0, le=MAX_RETRIES)] = Field(
        description=f"The most retries of one run, 0 to {MAX_RETRIES}; 0 turns off the retry of the defaults."
    )
    delay: Annotated[Span, Field(le=_DAY)] = Field(300.0, description="Wait before the first retry. Default 5m.")
    backoff: Annotated[float, Field(ge=1, le=10, allow_inf_nan=False)] = Field(
        1.0, description="Factor by which each further wait grows, 1 to 10. Default 1."
    )
    jitter: Share = Field(
        0.1, description="Waits vary by up to this share, so that runs do not retry together: 0% to 99%. Default 10%."
    )
    states: Annotated[tuple[FailedState, ...], Field(min_length=1)] = Field(
        ("failed", "crashed"), description="States to retry: failed (including timed out), crashed. Default both."
    )
    within: Span = Field(3600.0, description="Older failures are left alone. Default 1h.")
    only_causes: tuple[Cause, ...] = Field((), description="Retry only these failure causes. Default: all.")
    not_causes: tuple[Cause, ...] = Field((), description="Never retry these failure causes, such as code and auth.")
    unless_running: bool = Field(
        default=False, description="Wait while another run of the pipeline is Running. Default false."
    )

    @model_validator(mode="after")
    def _checked(self) -> Self:
        if both := sorted({*self.only_causes} & {*self.not_causes}):
            raise ValueError(f"{', '.join(both)} cannot be in only_causes and in not_causes")
        last = self.delay * self.backoff ** max(self.max - 1, 0)
        if last > _LONGEST_WAIT:
            raise ValueError(
                f"retry {self.max} would wait {last / _DAY:.3g} days, more than {format_duration(_LONGEST_WAIT)}:"
                " lower max, delay or backoff"
            )
        return self

    def covers(self, cause: str) -> bool:
        """Whether a failure of this cause is retried."""
        return cause not in self.not_causes and (not self.only_causes or cause in self.only_causes)


class OnFailure(Declared):
    """While its last run failed for good, deployments that read what it writes are paused."""

    pause: Annotated[tuple[Deployment, ...], Field(min_length=1)] = Field(
        description="Deployments to pause, by their full names: flow/deployment."
    )
    resume_on_success: bool = Field(
        default=False,
        description="Resume paused deployments when a run completes. Default false: people resume them.",
    )
    by: Actor = Field(
        "exporter", description="Who acts: exporter (serve --act) or prefect (an automation). Default exporter."
    )

    @property
    def targets(self) -> tuple[DeploymentName, ...]:
        return tuple(DeploymentName(*name.split("/")) for name in dict.fromkeys(self.pause))


class Scale(Declared):
    """While a run takes too long, its work pool gets more slots."""

    when_running_longer_than: Span = Field(description="Raise the limit while a run is Running for longer.")
    work_pool: Text = Field(description="The work pool whose concurrency limit is raised.")
    concurrency: Annotated[int, Field(strict=True, ge=1, le=MAX_SLOTS)] = Field(
        description="The new limit; a pool whose limit is higher already, or that has none, is left alone."
    )
    back_after: Span = Field(
        1800.0, description="Restore the limit when no run took too long for this long. Default 30m."
    )


class Skip(Declared):
    """Runs that are too late are ended instead of started."""

    when_later_than: Annotated[Span, Field(ge=_MINUTE)] = Field(
        description="End a run that should have started longer ago, at least 1m."
    )


class Unresponsive(Declared):
    """Runs whose heartbeats stopped are ended, because a dead process cannot say that it failed."""

    mark: Literal["crashed"] = Field(
        description="crashed: set a Running run that missed three heartbeats to Crashed, as a worker does."
    )


class Cancel(Declared):
    """Prefect itself ends runs, by an automation."""

    when: Literal["late"] = Field(
        description="late: end a run as soon as Prefect marks it Late, which it does seconds after its start is due."
    )


class Notify(Declared):
    """Prefect itself sends messages, by an automation: for teams without Alertmanager."""

    slack: BlockName | None = Field(None, description="Name of the Slack webhook block to send to.")
    pagerduty: BlockName | None = Field(None, description="Name of the PagerDuty webhook block to send to.")
    states: Annotated[tuple[FailedState, ...], Field(min_length=1)] = Field(
        ("failed", "crashed"), description="States to report: failed (including timed out), crashed. Default both."
    )
    after_failures: Annotated[int, Field(strict=True, ge=1, le=1000)] = Field(
        1, description="Send once this many runs failed within `within`. Default 1: each failure."
    )
    within: Span | None = Field(None, description="The time in which after_failures are counted.")

    @model_validator(mode="after")
    def _checked(self) -> Self:
        if self.slack is None and self.pagerduty is None:
            raise ValueError("give slack, pagerduty or both: names of notification blocks")
        if (self.after_failures > 1) != (self.within is not None):
            raise ValueError("after_failures (more than 1) and within belong together: give both, or neither")
        return self


def matches(flow: str, deployment: str, name: DeploymentName) -> bool:
    """Whether an entry's patterns match a deployment."""
    return bool(re.fullmatch(flow, name.flow, re.DOTALL) and re.fullmatch(deployment, name.deployment, re.DOTALL))


# The rules by their keys in the file, which are the fields of Policy too.
RULES: Final[Mapping[str, type[Declared]]] = {
    "retry": Retry,
    "on_failure": OnFailure,
    "scale": Scale,
    "skip": Skip,
    "unresponsive": Unresponsive,
    "cancel": Cancel,
    "notify": Notify,
}
# Rules that also apply to runs without a deployment.
RULES_FOR_ALL_RUNS: Final = frozenset({"unresponsive"})
