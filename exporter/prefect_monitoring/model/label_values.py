"""Bounds the length of label values, because names and messages in Prefect have no limit."""

from __future__ import annotations

from hashlib import sha256
from typing import Final

MAX_LENGTH: Final = 500
_DIGEST_LENGTH: Final = 8


def bounded(value: str) -> str:
    """The value, shortened to `MAX_LENGTH` characters that end with a digest of the whole value.

    The digest keeps values that begin alike apart.
    """
    if len(value) <= MAX_LENGTH:
        return value
    digest = sha256(value.encode(errors="surrogatepass")).hexdigest()[:_DIGEST_LENGTH]
    return f"{value[: MAX_LENGTH - _DIGEST_LENGTH - 1]}~{digest}"


def bounded_all(values: tuple[str, ...]) -> tuple[str, ...]:
    """Each value, bounded; the tuple itself where none is too long."""
    return tuple(map(bounded, values)) if any(len(value) > MAX_LENGTH for value in values) else values
