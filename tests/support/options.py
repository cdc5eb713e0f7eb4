"""Settings as users write them: flat."""

from __future__ import annotations

from typing import Any

from prefect_monitoring.config.settings import GROUPS, Settings, in_groups

ANY_PORT = "127.0.0.1:0"
"""The default address in tests: the usual port may be taken by a running exporter."""


def settings_with(**options: object) -> Settings:
    return Settings.model_validate(in_groups({"listen": ANY_PORT, **options}))


def flat(settings: Settings) -> dict[str, Any]:
    """The value of every option by its name."""
    return {name: value for group in GROUPS for name, value in getattr(settings, group)}
