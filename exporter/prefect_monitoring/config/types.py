"""How the values of options are written: durations, addresses, patterns, buckets, secrets."""

from __future__ import annotations

import math
import re
from typing import Annotated, Final
from urllib.parse import urlsplit

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

_UNITS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def parse_duration(value: object) -> float:
    """Seconds from `30s`, `15m`, `8d` or `1h30m`; ValueError for anything else, a bare number included."""
    text = str(value).strip()
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|[smhdw])", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is not a duration: write a number with a unit, such as 30s, 15m or 8d")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def format_duration(seconds: float) -> str:
    for unit in ("d", "h", "m", "s"):
        if seconds % _UNITS[unit] == 0 and seconds >= _UNITS[unit]:
            return f"{int(seconds // _UNITS[unit])}{unit}"
    return f"{seconds:g}s"


def _parse_yaml(value: object) -> object:
    try:
        return yaml.safe_load(value) if isinstance(value, str) else value
    except yaml.YAMLError as error:
        raise ValueError(f"not YAML: {' '.join(str(error).split())}") from None


def _split(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise ValueError(f"{text!r} is not a regular expression: {error}") from None
    return text


def _address(text: str) -> str:
    host, separator, port = text.rpartition(":")
    if not separator or not host or not port.isdigit() or int(port) > 65535:  # noqa: PLR2004 the largest port
        raise ValueError(f"{text!r} is not HOST:PORT, such as 127.0.0.1:9877 or [::1]:9877")
    return text


def host_and_port(address: str) -> tuple[str, int]:
    """The parts of a valid Address; of an IPv6 host without its brackets."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def _web_address(text: str) -> str:
    parts = urlsplit(text)
    if parts.username is not None or parts.password is not None:
        raise ValueError("an address that goes into messages cannot hold a user name or a password")
    if text and (parts.scheme not in {"http", "https"} or not parts.hostname):
        raise ValueError(f"{text!r} is not an address to open in a browser, such as https://prefect.example.com")
    return text.rstrip("/")


def _ascending(bounds: tuple[float, ...]) -> tuple[float, ...]:
    if not bounds or list(bounds) != sorted(set(bounds)) or bounds[0] <= 0 or not all(map(math.isfinite, bounds)):
        raise ValueError("bucket bounds are positive numbers, ascending, each once; +Inf is added")
    return bounds


def _filled(text: str) -> str:
    if not text:
        raise ValueError("is empty: give a value, or leave it out")
    return text


def _user_name(text: str) -> str:
    if ":" in text:
        raise ValueError("a user name of basic auth cannot hold a colon")
    return _filled(text)


def _secret(secret: SecretStr) -> SecretStr:
    _filled(secret.get_secret_value())
    return secret


def _token(secret: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[!-~]*", secret.get_secret_value()):
        raise ValueError("a bearer token is one line of ASCII characters without spaces")
    return _secret(secret)


Duration = Annotated[float, BeforeValidator(parse_duration)]
WebAddress = Annotated[str, AfterValidator(_web_address)]
Address = Annotated[str, AfterValidator(_address)]
FileName = Annotated[str, AfterValidator(_filled)]
UserName = Annotated[str, AfterValidator(_user_name)]
Secret = Annotated[SecretStr, AfterValidator(_secret)]
Token = Annotated[SecretStr, AfterValidator(_token)]
Pattern = Annotated[str, AfterValidator(_pattern)]
Patterns = Annotated[tuple[Pattern, ...], BeforeValidator(_split)]
Names = Annotated[tuple[str, ...], BeforeValidator(_split)]
Buckets = Annotated[tuple[float, ...], BeforeValidator(_split), AfterValidator(_ascending)]


class CauseRule(BaseModel):
    """A failure cause of the user's own: `cause` when `pattern` (a regular expression) is found in a state message."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    cause: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
    pattern: Pattern


CauseRules = Annotated[tuple[CauseRule, ...], BeforeValidator(_parse_yaml)]
