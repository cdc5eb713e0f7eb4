"""Why a part of a METRIC line is rejected."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why a piece was refused: malformed if it is not `name=value`; else the leftmost fault of the pair."""

    MALFORMED = "malformed"
    NAME = "name"
    LABEL = "label"
    NON_FINITE = "non_finite"
    TOO_MANY = "too_many"
    """Found when counting, not by the parser, which does not know the limits over all messages."""
    NEGATIVE = "negative"
    """Found when counting too: a declared counter or histogram takes no negative values."""
