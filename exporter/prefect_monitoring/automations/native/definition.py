"""A rule as Prefect's JSON, and how the automations of one installation are recognised."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from prefect_monitoring.model.automations import Automation

TAG: Final = "prefect-monitoring"
_ANY_FLOW_RUN: Final = "prefect.flow-run.*"
_EACH_DEPLOYMENT: Final = "related:deployment:prefect.resource.id"
_MANAGED: Final = (
    "Managed by prefect-monitoring, installation {installation}: the next `prefect-monitoring automations apply` undoes"
    " edits. You may pause it: it stays paused."
)


@dataclass(frozen=True, slots=True)
class Rule:
    """One automation: runs `action` once `threshold` events of one deployment's runs match within `within` seconds.

    `title` identifies it within an installation. `events` are patterns of event names, `labels` the labels that the
    run's resource must have too; only runs of `deployment_ids` count. `action` is Prefect's JSON.
    """

    title: str
    description: str
    deployment_ids: tuple[str, ...]
    action: Mapping[str, Any]
    events: tuple[str, ...] = (_ANY_FLOW_RUN,)
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    threshold: int = 1
    within: float = 0.0


@dataclass(frozen=True, slots=True)
class Installation:
    """The owner of automations; `name` keeps two installations in one workspace apart."""

    name: str

    @property
    def owner_resource(self) -> str:
        """The owner that Prefect stores with an automation. Prefect filters by it but never returns it."""
        return f"prefect-monitoring.installation.{self.name}"

    @property
    def tag(self) -> str:
        return f"{TAG}:{self.name}"

    @property
    def prefix(self) -> str:
        return f"{TAG} {self.name}: "

    def own(self, automations: Iterable[Automation], owned_ids: Collection[str]) -> list[Automation]:
        """The automations that this installation created: in `owned_ids`, or recognised by their tag and name.

        The latter is for servers that cannot filter by owner. A tag alone is not enough: people copy automations.
        """
        return [
            automation
            for automation in automations
            if automation.id in owned_ids or (self.tag in automation.tags and automation.name.startswith(self.prefix))
        ]

    def definition(self, rule: Rule) -> dict[str, Any]:
        """The JSON that updates an automation; `creation` adds what only a new one has."""
        trigger = {
            "type": "event",
            "posture": "Reactive",  # Proactive triggers are unreliable: nothing here uses them
            "match": {"prefect.resource.id": _ANY_FLOW_RUN, **{key: list(value) for key, value in rule.labels.items()}},
            "match_related": {
                "prefect.resource.role": "deployment",
                "prefect.resource.id": [
                    f"prefect.deployment.{identifier}" for identifier in sorted(rule.deployment_ids)
                ],
            },
            "after": [],
            "expect": list(rule.events),
            "for_each": [_EACH_DEPLOYMENT],
            "threshold": rule.threshold,
            "within": rule.within,
        }
        return {
            "name": f"{self.prefix}{rule.title}",
            "description": f"{rule.description}\n\n{_MANAGED.format(installation=self.name)}",
            "tags": [TAG, self.tag],
            "trigger": trigger,
            "actions": [dict(rule.action)],
            "actions_on_trigger": [],
            "actions_on_resolve": [],
        }

    def creation(self, definition: Mapping[str, Any]) -> dict[str, Any]:
        """A definition as a new automation takes it: enabled and owned."""
        return {**definition, "enabled": True, "owner_resource": self.owner_resource}
