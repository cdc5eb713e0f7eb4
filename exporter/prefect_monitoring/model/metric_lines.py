"""Why a part of a METRIC line is rejected."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why a piece was refused: what is no pair is malformed; of a pair's faults, the first from the left counts."""

    MALFORMED = "malformed"
    NAME = "name"
    LABEL = "label"
    NON_FINITE = "non_finite"
    TOO_MANY = "too_many"
    """Given by counting, not by the parser: the parser knows of no limit over all messages."""
    NEGATIVE = "negative"
    """Given by counting as well: what is declared as a counter or a histogram takes no value below zero."""
