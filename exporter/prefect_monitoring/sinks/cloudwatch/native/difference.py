"""The changes that bring CloudWatch's alarms and dashboard to the compiled ones. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prefect_monitoring.model.differences import Change, Definition, Edit, differences


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alarm of this installation as CloudWatch has it; `enabled`: whether its actions are on."""

    name: str
    enabled: bool
    definition: Definition


@dataclass(frozen=True, slots=True)
class Plan:
    """`dashboard` is the body to write, None if it is up to date. `silenced`: alarms whose actions are off."""

    create: tuple[Definition, ...]
    change: tuple[Change[Alarm], ...]
    destroy: tuple[Alarm, ...]
    unchanged: int
    silenced: tuple[str, ...]
    dashboard: Definition | None = None
    destroys_dashboard: bool = False

    @property
    def is_empty(self) -> bool:
        return not (self.create or self.change or self.destroy or self.dashboard or self.destroys_dashboard)


def plan(
    desired: Iterable[Definition],
    existing: Sequence[Alarm],
    dashboard: Definition | None = None,
    dashboard_now: Definition | None = None,
) -> Plan:
    """From `existing` and `dashboard_now`, those of this installation, to `desired` and `dashboard`."""
    by_name = {alarm.name: alarm for alarm in existing}
    found = differences(desired, by_name, "AlarmName", _edits)
    kept = {alarm.name for alarm in found.kept}
    return Plan(
        create=found.create,
        change=found.change,
        destroy=tuple(alarm for alarm in existing if alarm.name not in kept),
        unchanged=len(found.kept) - len(found.change) + (dashboard is not None and dashboard == dashboard_now),
        silenced=found.switched_off,
        dashboard=dashboard if dashboard != dashboard_now else None,
        destroys_dashboard=dashboard is None and dashboard_now is not None,
    )


def _edits(after: Definition, before: Definition) -> Iterator[Edit]:
    for key, value in after.items():
        if _comparable(value) != _comparable(before.get(key)):
            yield Edit(key, before.get(key), value)


def _comparable(value: Any) -> Any:
    """Dimensions and actions have no order; None is the same as an empty list."""
    if value is None or isinstance(value, list):
        return frozenset(tuple(sorted(item.items())) if isinstance(item, Mapping) else item for item in value or ())
    return value
