"""Settings as users write them: flat."""

from __future__ import annotations

from typing import Any

from prefect_monitoring.config.settings import GROUPS, Settings, in_groups


def settings_with(**options: object) -> Settings:
    return Settings.model_validate(in_groups(options))


def flat(settings: Settings) -> dict[str, Any]:
    """The value of every option by its name."""
    return {name: value for group in GROUPS for name, value in getattr(settings, group)}
