"""Prefect's own automations, and the blocks through which they send messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Automation:
    """An existing automation. `definition`: trigger, actions, description and so on, as Prefect's JSON."""

    id: str
    name: str
    tags: frozenset[str]
    enabled: bool
    created_at: float
    definition: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class NotificationBlock:
    """A block that can send messages. `type`: its type's slug, such as slack-webhook; `type_name`: the name to show."""

    id: str
    name: str
    type: str
    type_name: str
