"""Plans as text, and definitions as YAML for Prefect's command line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import yaml

from prefect_monitoring.automations.native.difference import Plan
from prefect_monitoring.model.differences import Definition, Edit, summary_line, value_text

_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_SHOWN: Final = 10  # of the deployments that an automation watches


def plan_lines(plan: Plan, names: Mapping[str, str]) -> Iterator[str]:
    """`names` are those of deployments and blocks, by id."""
    for definition in plan.create:
        yield f"  + create   {definition['name']}"
        yield f"             {definition['description'].splitlines()[0]}"
        yield f"             watches {_watched(definition, names)}"
    for change in plan.change:
        yield f"  ~ change   {change.existing.name}"
        for edit in change.edits:
            yield from (f"             {line}" for line in _edit_lines(edit, names))
    for automation in plan.destroy:
        yield f"  - destroy  {automation.name}"
    for name in plan.paused:
        yield f"  note: {name} is paused in Prefect, and stays so"
    yield summary_line(len(plan.create), len(plan.change), len(plan.destroy), plan.unchanged)


def export_yaml(definitions: Iterable[Definition]) -> str:
    """A file for `prefect automation create --from-file`."""
    text = yaml.safe_dump({"automations": list(definitions)}, sort_keys=False, allow_unicode=True, width=120)
    return str(text)


def _watched(definition: Definition, names: Mapping[str, str]) -> str:
    ids = definition["trigger"]["match_related"]["prefect.resource.id"]
    shown = sorted(_named(identifier.rpartition(".")[2], names) for identifier in ids)
    more = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    return f"{', '.join(shown[:_SHOWN])}{more}"


def _edit_lines(edit: Edit, names: Mapping[str, str]) -> Iterator[str]:
    if isinstance(edit.before, list) and isinstance(edit.after, list) and _hashable((*edit.before, *edit.after)):
        gone, new = ({*one} - {*other} for one, other in ((edit.before, edit.after), (edit.after, edit.before)))
        yield from (f"{edit.path}: - {_named(one, names)}" for one in sorted(gone))
        yield from (f"{edit.path}: + {_named(one, names)}" for one in sorted(new))
    else:
        yield f"{edit.path}: {_named(edit.before, names)} → {_named(edit.after, names)}"


def _hashable(values: Iterable[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


def _named(value: Any, names: Mapping[str, str]) -> str:
    """A value on one line, with names instead of ids."""
    return _UUID.sub(lambda found: names.get(found[0], found[0]), value_text(value))
