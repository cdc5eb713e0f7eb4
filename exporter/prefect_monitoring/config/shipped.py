"""Finds files of the repository that a wheel carries too."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_PACKAGE: Final = Path(__file__).parents[1]


def shipped(path: str) -> Path:
    """A file or folder by its path in the repository."""
    packaged = _PACKAGE / "shipped" / path
    return packaged if packaged.exists() else _PACKAGE.parents[1] / path
