"""Which tags of a deployment are shown."""

from __future__ import annotations

import re
from collections.abc import Iterable


def shown_tags(tags: Iterable[str], patterns: Iterable[re.Pattern[str]], most: int) -> tuple[str, ...]:
    """The first `most` of the tags that match one of the patterns as a whole, in alphabetical order."""
    return tuple(sorted({tag for tag in tags if any(pattern.fullmatch(tag) for pattern in patterns)})[:most])
