"""The changes that bring Prefect's automations to the compiled ones. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from prefect_monitoring.model.automations import Automation
from prefect_monitoring.model.differences import Change, Definition, Edit, differences

# Here a key that we did not set narrows what matches. Elsewhere it is a default of a newer server.
_EXACT: Final = frozenset({"trigger.match", "trigger.match_related"})


@dataclass(frozen=True, slots=True)
class Plan:
    """`paused`: the names of automations that somebody paused in Prefect; they stay paused."""

    create: tuple[Definition, ...]
    change: tuple[Change[Automation], ...]
    destroy: tuple[Automation, ...]
    unchanged: int
    paused: tuple[str, ...]

    @property
    def is_empty(self) -> bool:
        return not (self.create or self.change or self.destroy)


def plan(desired: Iterable[Definition], existing: Sequence[Automation]) -> Plan:
    """The plan from `existing`, those of this installation, to `desired`. Of several with one name, the first stays."""
    by_name: dict[str, Automation] = {}
    for automation in existing:
        by_name.setdefault(automation.name, automation)
    found = differences(desired, by_name, "name", _edits)
    kept_ids = {automation.id for automation in found.kept}
    return Plan(
        create=found.create,
        change=found.change,
        destroy=tuple(automation for automation in existing if automation.id not in kept_ids),
        unchanged=len(found.kept) - len(found.change),
        paused=found.switched_off,
    )


def _edits(after: Any, before: Any, path: str = "") -> Iterator[Edit]:
    if isinstance(after, Mapping) and isinstance(before, Mapping):
        keys = [*after, *(key for key in before if key not in after and path in _EXACT)]
        for key in keys:
            yield from _edits(after.get(key), before.get(key), f"{path}.{key}".lstrip("."))
    elif _is_list_of_objects(after) and _is_list_of_objects(before) and len(after) == len(before):
        for number, (new, old) in enumerate(zip(after, before, strict=True)):
            yield from _edits(new, old, f"{path}[{number}]")
    elif _comparable(after) != _comparable(before):
        yield Edit(path, before, after)


def _is_list_of_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, Mapping) for item in value)


def _comparable(value: Any) -> Any:
    """Prefect treats lists as sets, and a single value as a list of one."""
    if isinstance(value, list) and not _is_list_of_objects(value):
        return frozenset(value)
    return frozenset({value}) if isinstance(value, str) else value
