"""What has to be created, changed and destroyed elsewhere to match the declaration. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

Definition = Mapping[str, Any]


class Existing(Protocol):
    """An existing object, as the other side has it. `enabled`: it is not switched off there."""

    @property
    def name(self) -> str: ...
    @property
    def enabled(self) -> bool: ...
    @property
    def definition(self) -> Definition: ...


E = TypeVar("E", bound=Existing)


@dataclass(frozen=True, slots=True)
class Edit:
    """A value that differs from the declaration; None where the value is missing."""

    path: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Change(Generic[E]):
    existing: E
    definition: Definition
    edits: tuple[Edit, ...]


@dataclass(frozen=True, slots=True)
class Differences(Generic[E]):
    """`kept` are the declared objects that exist, changed or not."""

    create: tuple[Definition, ...]
    change: tuple[Change[E], ...]
    kept: tuple[E, ...]

    @property
    def switched_off(self) -> tuple[str, ...]:
        """The names of objects that are switched off; they stay so."""
        return tuple(one.name for one in self.kept if not one.enabled)


def differences(
    desired: Iterable[Definition],
    existing: Mapping[str, E],
    name_key: str,
    edits: Callable[[Definition, Definition], Iterable[Edit]],
) -> Differences[E]:
    """From `existing`, by name, to `desired`, named under `name_key`. `edits` compares desired with existing."""
    create: list[Definition] = []
    change: list[Change[E]] = []
    kept: list[E] = []
    for definition in desired:
        found = existing.get(definition[name_key])
        if found is None:
            create.append(definition)
            continue
        kept.append(found)
        if changed := tuple(edits(definition, found.definition)):
            change.append(Change(found, definition, changed))
    return Differences(tuple(create), tuple(change), tuple(kept))


def summary_line(create: int, change: int, destroy: int, unchanged: int) -> str:
    """How much there is to do."""
    counts = ((create, "create"), (change, "change"), (destroy, "destroy"))
    todo = ", ".join(f"{count} to {verb}" for count, verb in counts)
    return f"{todo if create or change or destroy else 'Nothing to change'}; {unchanged} unchanged"


def value_text(value: Any) -> str:
    """A value on one line."""
    return " ".join(str(value).split()) if value is not None else "nothing"
