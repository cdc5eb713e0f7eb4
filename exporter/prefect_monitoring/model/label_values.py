"""Label values of bounded length: names and messages in Prefect are as long as people make them."""

from __future__ import annotations

from hashlib import sha256
from typing import Final

MAX_LENGTH: Final = 500
_DIGEST_LENGTH: Final = 8


def bounded(value: str) -> str:
    """The value, at most `MAX_LENGTH` characters long: of a longer one the beginning, and a digest of the whole.

    So two that begin alike are two series all the same.
    """
    if len(value) <= MAX_LENGTH:
        return value
    digest = sha256(value.encode(errors="surrogatepass")).hexdigest()[:_DIGEST_LENGTH]
    return f"{value[: MAX_LENGTH - _DIGEST_LENGTH - 1]}~{digest}"


def bounded_all(values: tuple[str, ...]) -> tuple[str, ...]:
    """The same of each; the tuple itself where none is too long."""
    return tuple(map(bounded, values)) if any(len(value) > MAX_LENGTH for value in values) else values
