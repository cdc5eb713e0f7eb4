"""Addresses of archives: `s3://bucket/prefix` or `file:///folder`."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote, urlsplit


@dataclass(frozen=True, slots=True)
class ArchiveAddress:
    """`bucket` is "" for a disk; `path` is the prefix in the bucket, without slashes around it, or the folder."""

    bucket: str
    path: str


def parse_archive_address(to: str) -> ArchiveAddress:
    """Parses `s3://bucket/prefix` or `file:///folder`. Raises ValueError for any other address."""
    parts = urlsplit(to)
    path = unquote(parts.path)
    # A port, a user name or a query has no meaning here, and might be a secret.
    if parts.scheme == "s3" and parts.netloc and not {":", "@"} & set(parts.netloc) and not parts.query:
        return ArchiveAddress(parts.netloc, path.strip("/"))
    if parts.scheme == "file" and not parts.netloc and path.startswith("/"):
        return ArchiveAddress("", path)
    raise ValueError("is neither s3://bucket/prefix nor file:///folder")
