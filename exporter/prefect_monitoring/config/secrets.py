"""Secrets that containers get as files (`*_FILE`)."""

from __future__ import annotations

from pathlib import Path


class SecretFileError(Exception):
    """A file gives no secret; the message names the file and what to do, never what it holds."""


def read_secret(path: str) -> str:
    """The text of the file without the newline at its end. Raises SecretFileError."""
    if not path:
        raise SecretFileError("no file is named: give its path, or leave this out")
    try:
        secret = Path(path).read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise SecretFileError(
            f"{path} cannot be read ({error.strerror}): give the path of the file that holds the secret, and let the"
            " user that runs prefect-monitoring read it"
        ) from None
    except ValueError:
        raise SecretFileError(f"{path} is not UTF-8 text: write the secret into it as plain text") from None
    if not secret:
        raise SecretFileError(f"{path} is empty: write the secret into it")
    return secret
