"""Where the repository's files lie that are no Python: a wheel carries them along."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]


def shipped(path: str) -> Path:
    """A file or folder by its path in the repository."""
    packaged = _PACKAGE / "shipped" / path
    return packaged if packaged.exists() else _PACKAGE.parents[1] / path
