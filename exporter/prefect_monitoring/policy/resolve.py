"""Resolves each pipeline's policy: its entry in the pipelines file, else its tags, else the defaults. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from prefect_monitoring.model.records import Pipeline
from prefect_monitoring.policy.action_rules import Cancel, Notify, OnFailure, Retry, Scale, Skip, Unresponsive
from prefect_monitoring.policy.fields import RESERVED_LABELS
from prefect_monitoring.policy.pipelines_file import CRITICALITIES, Limits, PipelineEntry, PipelinesFile

DEFAULT_OBJECTIVE: Final = 0.99
DEFAULT_WINDOW: Final = 30 * 86400.0
DEFAULT_GRACE: Final = 1800.0
_LABEL_TAG: Final = re.compile(r"([a-zA-Z_][a-zA-Z0-9_]*):(.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Policy:
    """What is declared about a pipeline. Times in seconds, `objective` a ratio; None where nothing is declared.

    `tags` are the bare ones, without criticality; `labels` are those of the file and the tags `key:value`. The rules
    that act come only from the file; an entry's rule replaces that of the defaults as a whole.
    """

    criticality: str = "standard"
    team: str = ""
    tags: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    objective: float = DEFAULT_OBJECTIVE
    window: float = DEFAULT_WINDOW
    grace: float = DEFAULT_GRACE
    max_duration: float | None = None
    max_staleness: float | None = None
    max_pause: float | None = None
    limits: Mapping[str, Limits] = field(default_factory=dict)
    retry: Retry | None = None
    on_failure: OnFailure | None = None
    scale: Scale | None = None
    skip: Skip | None = None
    unresponsive: Unresponsive | None = None
    retry_unresponsive: bool = False
    cancel: Cancel | None = None
    notify: Notify | None = None
    alert_on: str = "each"


class Policies:
    """Looks up policies in one pipelines file, and caches them."""

    def __init__(self, file: PipelinesFile) -> None:
        self._file = file
        self._entries = [
            (re.compile(entry.flow, re.DOTALL), re.compile(entry.deployment, re.DOTALL), entry)
            for entry in file.pipelines
        ]
        self._known: dict[tuple[Pipeline, tuple[str, ...]], Policy | None] = {}

    def of(self, pipeline: Pipeline, tags: tuple[str, ...]) -> Policy | None:
        """The policy of a pipeline; `tags` are those of its deployment that may be shown.

        None for runs without a deployment that no entry names, such as subflows.
        """
        key = (pipeline, tags)
        if key not in self._known:
            entry = self.entry_for(pipeline)
            self._known[key] = _merge(self._file, pipeline, entry, tags) if pipeline.deployment or entry else None
        return self._known[key]

    def entry_for(self, pipeline: Pipeline) -> PipelineEntry | None:
        """The first entry that matches."""
        return next((self._entries[number][2] for number in self.entries_for(pipeline)), None)

    def entries_for(self, pipeline: Pipeline) -> Iterable[int]:
        """The numbers of all entries that match; the first one applies."""
        for number, (flow, deployment, _) in enumerate(self._entries):
            if flow.fullmatch(pipeline.flow) and deployment.fullmatch(pipeline.deployment):
                yield number


def _merge(file: PipelinesFile, pipeline: Pipeline, entry: PipelineEntry | None, tags: Collection[str]) -> Policy:
    declared = entry or PipelineEntry(flow="")
    retry = declared.retry or file.defaults.retry
    skip = declared.skip or file.defaults.skip
    retry_unresponsive = declared.retry_unresponsive
    if retry_unresponsive is None:
        retry_unresponsive = file.defaults.retry_unresponsive
    tagged, bare = _read_tags(tags)
    slo = file.defaults.slo.model_dump(exclude_none=True) | declared.slo.model_dump(exclude_none=True)
    team = declared.team or tagged.pop("team", None) or file.defaults.team or ""
    criticality = declared.criticality or tagged.pop("criticality", None) or file.defaults.criticality or "standard"
    return Policy(
        criticality=criticality,
        team=team,
        tags=bare,
        labels={**file.defaults.labels, **_labels(tagged), **declared.labels},
        objective=slo.get("min_success_ratio", DEFAULT_OBJECTIVE),
        window=slo.get("window", DEFAULT_WINDOW),
        grace=slo.get("grace", DEFAULT_GRACE),
        max_duration=slo.get("max_duration"),
        max_staleness=slo.get("max_staleness"),
        max_pause=declared.max_pause or file.defaults.max_pause,
        alert_on=declared.alert_on or file.defaults.alert_on or "each",
        limits=declared.metrics,
        retry=retry if retry and retry.max and pipeline.deployment else None,
        on_failure=declared.on_failure,
        scale=declared.scale,
        skip=skip if pipeline.deployment else None,
        unresponsive=declared.unresponsive or file.defaults.unresponsive,
        retry_unresponsive=bool(retry_unresponsive),
        cancel=declared.cancel,
        notify=declared.notify or file.defaults.notify,
    )


def _read_tags(tags: Iterable[str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """The values of `key:value` tags by key (the highest criticality, the first team), and the bare tags."""
    tagged: dict[str, str] = {}
    bare = []
    for tag in sorted(tags):
        if tag not in CRITICALITIES and (found := _LABEL_TAG.fullmatch(tag)):
            tagged.setdefault(found[1], found[2])
        elif tag not in CRITICALITIES:
            bare.append(tag)
    if ranked := [criticality for criticality in CRITICALITIES if criticality in tags]:
        tagged["criticality"] = ranked[0]
    elif tagged.get("criticality") not in CRITICALITIES:
        tagged.pop("criticality", None)
    return tagged, tuple(bare)


def _labels(tagged: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in tagged.items() if key not in RESERVED_LABELS and not key.startswith("__")}
