"""Compiles policies to Prefect automations. Pure."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from prefect_monitoring.analysis.durations import format_duration
from prefect_monitoring.automations.native.definition import Rule
from prefect_monitoring.model.automations import NotificationBlock
from prefect_monitoring.model.records import Pipeline
from prefect_monitoring.policy.action_rules import Notify
from prefect_monitoring.policy.resolve import Policy

_STATE_TYPE: Final = "prefect.state-type"  # not the event's name: that ends in the state's name, which flows choose
_BAD_STATES: Final = ("FAILED", "CRASHED")


@dataclass(frozen=True, slots=True)
class _Service:
    """`block_types` are slugs; the first is preferred where two have a block of that name."""

    label: str
    block_types: tuple[str, ...]


_SERVICES: Final[Mapping[str, _Service]] = {
    # The second type is prefect-slack's, which has to be installed on the server; the others are part of Prefect.
    "slack": _Service("Slack", ("slack-webhook", "slack-incoming-webhook")),
    "pagerduty": _Service("PagerDuty", ("pager-duty-webhook",)),
}
# The message of a state is left out: it may hold the password of a connection string, and Prefect cannot redact it.
_SUBJECT: Final = "{{ flow.name }}/{{ deployment.name }}: {{ flow_run.state.name }}"
_BODY: Final = (
    "Run {{ flow_run.name }} of {{ flow.name }}/{{ deployment.name }} ended as {{ flow_run.state.name }}"
    " at {{ flow_run.state.timestamp }}.\n{{ (flow_run|ui_url) or '' }}"
)
_LEFT_TO_EXPORTER: Final[Mapping[str, str]] = {
    "retry": "an automation retries without a limit and without a delay",
    "scale": "automations have no action that changes a work pool's limit",
    "unresponsive": "it would need a proactive trigger, and those are unreliable",
    "skip": "it would need a proactive trigger, and those are unreliable",
}


@dataclass(frozen=True, slots=True)
class Directory:
    """What exists in the workspace: deployments' ids by name, and the blocks that can send messages."""

    deployments: Mapping[Pipeline, str]
    blocks: Sequence[NotificationBlock] = ()


@dataclass(frozen=True, slots=True)
class Fault:
    """A name in the pipelines file that refers to nothing."""

    text: str


@dataclass(frozen=True, slots=True)
class Compiled:
    """With `faults`, nothing may be applied. `notes` say what Prefect does differently, or not at all."""

    rules: tuple[Rule, ...]
    faults: tuple[str, ...]
    notes: tuple[str, ...]


def compile_rules(policies: Mapping[Pipeline, Policy], directory: Directory) -> Compiled:
    """The automations for `policies`, those of all existing pipelines: pipelines with the same action share one."""
    runnable = {pipeline: policy for pipeline, policy in sorted(policies.items()) if pipeline in directory.deployments}
    results: list[Rule | Fault] = [*_notifications(runnable, directory), *_pauses(runnable, directory)]
    results += _cancels(runnable, directory)
    return Compiled(
        rules=tuple(result for result in results if isinstance(result, Rule)),
        faults=tuple(dict.fromkeys(result.text for result in results if isinstance(result, Fault))),
        notes=tuple(_notes(policies)),
    )


@dataclass(frozen=True, slots=True)
class _Message:
    """A notification that deployments share: sent after `count` runs, within `within` seconds if that is set."""

    service: str
    block: str
    states: tuple[str, ...]
    count: int
    within: float | None

    @property
    def which_runs(self) -> str:
        states = " or ".join(self.states)
        if self.within is None:
            return f"{states} runs"
        return f"{self.count} runs of one deployment {states} within {format_duration(self.within)}"

    @property
    def subject(self) -> str:
        repeated = f"{self.count} failures within {format_duration(self.within)}: " if self.within else ""
        return f"{repeated}{_SUBJECT}"


def _notifications(policies: Mapping[Pipeline, Policy], directory: Directory) -> Iterator[Rule | Fault]:
    covered: defaultdict[_Message, list[Pipeline]] = defaultdict(list)
    for pipeline, policy in policies.items():
        if notify := policy.notify:
            for service, block in _blocks_of(notify):
                states = tuple(sorted(notify.states, reverse=True))
                covered[_Message(service, block, states, notify.after_failures, notify.within)].append(pipeline)
    for message, pipelines in covered.items():
        document = _block(message.service, message.block, directory.blocks)
        if isinstance(document, Fault):
            yield document
            continue
        yield Rule(
            title=f"{_SERVICES[message.service].label} {message.block}: {message.which_runs}",
            description=f"Sends a message with the {document.type_name} block {message.block}: {message.which_runs}.",
            deployment_ids=_ids(pipelines, directory),
            action={
                "type": "send-notification",
                "block_document_id": document.id,
                "subject": message.subject,
                "body": _BODY,
            },
            labels={_STATE_TYPE: tuple(state.upper() for state in message.states)},
            threshold=message.count,
            within=message.within or 0.0,
        )


def _blocks_of(notify: Notify) -> Iterator[tuple[str, str]]:
    """The services and the names of the blocks to send with."""
    for service in _SERVICES:
        if block := getattr(notify, service):
            yield service, block


def _block(service: str, name: str, blocks: Iterable[NotificationBlock]) -> NotificationBlock | Fault:
    wanted = _SERVICES[service]
    usable = {(block.type, block.name): block for block in blocks if block.type in wanted.block_types}
    for block_type in wanted.block_types:
        if found := usable.get((block_type, name)):
            return found
    other_types = [block.type_name for block in blocks if block.name == name]
    advice = (
        f"; the block {name} is a {other_types[0]}"
        if other_types
        else _did_you_mean(name, [block for _, block in usable])
    )
    return Fault(f"notify.{service}: there is no {wanted.label} webhook block named {name}{advice}")


def _pauses(policies: Mapping[Pipeline, Policy], directory: Directory) -> Iterator[Rule | Fault]:
    pausing: defaultdict[Pipeline, list[Pipeline]] = defaultdict(list)
    resuming: defaultdict[Pipeline, list[Pipeline]] = defaultdict(list)
    for pipeline, policy in policies.items():
        rule = policy.on_failure
        if rule is None or rule.by != "prefect":
            continue
        for target in map(Pipeline._make, rule.targets):
            pausing[target].append(pipeline)
            if rule.resume_on_success:
                resuming[target].append(pipeline)
    for target, sources in pausing.items():
        if target not in directory.deployments:
            names = ["/".join(pipeline) for pipeline in directory.deployments]
            name = "/".join(target)
            yield Fault(f"on_failure.pause: there is no deployment {name}{_did_you_mean(name, names)}")
            continue
        yield _switch("pause", "fails", target, sources, directory, _BAD_STATES)
        if len(resuming[target]) == len(sources) == 1:
            yield _switch("resume", "completes", target, sources, directory, ("COMPLETED",))


def _switch(
    verb: str, event: str, target: Pipeline, sources: Sequence[Pipeline], directory: Directory, states: tuple[str, ...]
) -> Rule:
    name = "/".join(target)
    return Rule(
        title=f"{verb} {name}",
        description=(
            f"{verb.capitalize()}s the deployment {name} when a run of a deployment that it depends on {event}."
        ),
        deployment_ids=_ids(sources, directory),
        action={
            "type": f"{verb}-deployment",
            "source": "selected",
            "deployment_id": directory.deployments[target],
        },
        labels={_STATE_TYPE: states},
    )


def _cancels(policies: Mapping[Pipeline, Policy], directory: Directory) -> Iterator[Rule]:
    late = [pipeline for pipeline, policy in policies.items() if policy.cancel is not None]
    if late:
        yield Rule(
            title="cancel late runs",
            description="Cancels runs as soon as Prefect marks them Late.",
            deployment_ids=_ids(late, directory),
            action={"type": "cancel-flow-run"},
            events=("prefect.flow-run.Late",),
        )


def _notes(policies: Mapping[Pipeline, Policy]) -> Iterator[str]:
    for key, reason in _LEFT_TO_EXPORTER.items():
        if count := sum(getattr(policy, key) is not None for policy in policies.values()):
            yield f"{key} of {_deployments(count)} is left to `serve --act`: {reason}"
    kept = [policy.on_failure for policy in policies.values() if policy.on_failure]
    if count := sum(rule.by == "exporter" for rule in kept):
        yield f"on_failure of {_deployments(count)} is left to `serve --act`: `by: prefect` hands it to Prefect"
    yield from _shared_resumes(policies)
    native = [policy for policy in policies.values() if policy.notify or _pauses_natively(policy)]
    if count := sum(policy.retry is not None for policy in native):
        yield f"{_deployments(count)} with a retry: Prefect notifies and pauses at each failed attempt, not at the last"
    without = [pipeline.flow for pipeline, policy in policies.items() if not pipeline.deployment and policy.notify]
    if without:
        yield f"notify of runs without a deployment does nothing: {', '.join(sorted(without))}"


def _shared_resumes(policies: Mapping[Pipeline, Policy]) -> Iterator[str]:
    """A target with several sources: Prefect would resume it when one of them completes while another still fails."""
    sources: defaultdict[str, list[bool]] = defaultdict(list)
    for policy in policies.values():
        if policy.on_failure and _pauses_natively(policy):
            for target in policy.on_failure.targets:
                sources[str(target)].append(policy.on_failure.resume_on_success)
    for name, resumes in sorted(sources.items()):
        if any(resumes) and len(resumes) > 1:
            yield (
                f"{name} is not resumed: {len(resumes)} deployments pause it, and Prefect would resume it at a success"
                " of any of them; resume it by hand, or leave on_failure to `serve --act`"
            )


def _pauses_natively(policy: Policy) -> bool:
    return policy.on_failure is not None and policy.on_failure.by == "prefect"


def _ids(pipelines: Iterable[Pipeline], directory: Directory) -> tuple[str, ...]:
    return tuple(directory.deployments[pipeline] for pipeline in pipelines)


def _deployments(count: int) -> str:
    return f"{count} deployment{'' if count == 1 else 's'}"


def _did_you_mean(name: str, names: Iterable[Any]) -> str:
    close = difflib.get_close_matches(name, list(names), n=1)
    return f"; did you mean {close[0]}?" if close else ""
