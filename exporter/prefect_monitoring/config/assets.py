"""Declarations of assets: which are read, and how old their last materialization may be."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from prefect_monitoring.config.types import Duration, Notation, Pattern, parse_yaml


class AssetRule(BaseModel):
    """Assets that have a pattern of their keys in common."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    asset: Pattern = Field(description="The asset's key, or a regular expression that matches whole keys.")
    max_staleness: Annotated[Duration, Field(gt=0)] | None = Field(
        None, description="An alert fires when the last successful materialization is older."
    )

    @property
    def exact(self) -> str | None:
        """The key, if it is one: `.` alone does not make a pattern of it."""
        return None if re.search(r"[\\^$*+?()\[\]{}|]", self.asset) else self.asset


Assets = Annotated[tuple[AssetRule, ...], BeforeValidator(parse_yaml), Notation("YAML", lambda _: "")]
ASSET_KEYS: Final = tuple(AssetRule.model_fields)


def rule_of(rules: Sequence[AssetRule], asset: str) -> AssetRule | None:
    """The first rule that matches; None for an asset that nobody declared."""
    return next((rule for rule in rules if rule.asset == asset or re.fullmatch(rule.asset, asset, re.DOTALL)), None)
