"""Why a request to the Prefect API gave no usable answer."""

from __future__ import annotations

from typing import Final

INCOMPLETE: Final = "incomplete"


class ApiError(Exception):
    """A request that gave no usable answer. `code` is its label in `prefect_exporter_api_requests_total`.

    INCOMPLETE is the code of a reading that was answered but needs data that another endpoint did not give.
    """

    def __init__(self, message: str, code: str, *, detail: bytes = b"") -> None:
        super().__init__(message)
        self.code = code
        self.detail = detail


class ThrottledError(ApiError):
    """The API asked for a pause (429 or Retry-After); nothing is sent for `seconds`."""

    def __init__(self, message: str, code: str, seconds: float) -> None:
        super().__init__(message, code)
        self.seconds = seconds


class TooLargeError(ApiError):
    """An answer that was not read to its end because it is too large."""


class NoApiUrlError(Exception):
    """Prefect has no usable API address: without one, its client would start its own empty server."""

    def __init__(self, what: str = "No Prefect API address") -> None:
        super().__init__(
            f"{what}: set PREFECT_API_URL (for example http://127.0.0.1:4200/api) or select a profile that has one:"
            " prefect config view"
        )


class ClientSettingsError(NoApiUrlError):
    """Prefect's client cannot be built with the present settings."""

    def __init__(self, message: str) -> None:
        Exception.__init__(self, message)
