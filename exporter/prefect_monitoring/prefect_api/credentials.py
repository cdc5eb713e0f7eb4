"""Reads Prefect's credentials from files, as containers provide them; Prefect itself accepts only values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Final

from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_KEY, temporary_settings

from prefect_monitoring.config.secrets import SecretFileError, read_secret
from prefect_monitoring.config.settings import SettingsError

_SETTINGS: Final = {"PREFECT_API_KEY": PREFECT_API_KEY, "PREFECT_API_AUTH_STRING": PREFECT_API_AUTH_STRING}


@contextmanager
def credentials_from_files(environment: Mapping[str, str]) -> Iterator[None]:
    """Prefect's settings with the contents of `PREFECT_API_KEY_FILE` and `PREFECT_API_AUTH_STRING_FILE`.

    Raises SettingsError, which names every faulty one.
    """
    found, faults = {}, []
    for name, setting in _SETTINGS.items():
        file = f"{name}_FILE"
        if file not in environment:
            continue
        if environment.get(name):
            faults.append(f"{name} and {file}: both are set, and only one can count: unset one of them")
            continue
        try:
            found[setting] = read_secret(environment[file])
        except SecretFileError as fault:
            faults.append(f"{file}: {fault}")
    if faults:
        raise SettingsError("\n".join(faults))
    # temporary_settings() validates all settings again: only where one changes.
    with temporary_settings(found) if found else nullcontext():
        yield


@contextmanager
def acting_credentials(api_key: str) -> Iterator[None]:
    """Prefect's settings with another API key, unchanged for "". A client keeps the settings it is opened with."""
    with temporary_settings({PREFECT_API_KEY: api_key}) if api_key else nullcontext():
        yield
