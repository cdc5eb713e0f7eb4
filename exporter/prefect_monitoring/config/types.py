"""How the values of options are written: durations, addresses, patterns, buckets, secrets."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr

from prefect_monitoring.analysis.archive_address import parse_archive_address
from prefect_monitoring.analysis.durations import format_duration, parse_duration
from prefect_monitoring.model.cloudwatch import check_namespace
from prefect_monitoring.model.pushed_metrics import PushedName


def _never(_: str) -> bool:
    return False


def _always(_: str) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Notation:
    """How values of a type are written: their placeholder in a help text, and how a default is shown there.

    `is_secret`: whether a value must not be on a command line, which every user of the machine can read.
    """

    metavar: str
    show: Callable[[Any], str] = str
    is_secret: Callable[[str], bool] = _never

    @property
    def has_flag(self) -> bool:
        return self.is_secret is not _always


def parse_yaml(value: object) -> object:
    """What a flag or a variable holds as YAML text; a file has parsed it already."""
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


def _archive_address(to: str) -> str:
    if to:
        parse_archive_address(to)
    return to


def _user_name(text: str) -> str:
    if ":" in text:
        raise ValueError("a user name of basic auth cannot hold a colon")
    return _filled(text)


def _installation(name: str) -> str:
    if not re.fullmatch(r"([a-z0-9][a-z0-9-]{0,62})?", name):
        raise ValueError(
            f"{name!r} is not a name for an installation: lower case letters, digits, hyphens, such as prod"
        )
    return name


def _cron(expression: str) -> str:
    if len(expression.split()) != CRON_FIELDS:
        raise ValueError(f"{expression!r} does not have the five fields of crontab: minute hour day month weekday")
    return expression


def _time_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{name!r} is not a time zone: give a name like Europe/Zurich or UTC") from None
    return name


def _secret(secret: SecretStr) -> SecretStr:
    _filled(secret.get_secret_value())
    return secret


def _token(secret: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[!-~]*", secret.get_secret_value()):
        raise ValueError("a bearer token is one line of ASCII characters without spaces")
    return _secret(secret)


def holds_password(url: str) -> bool:
    """Whether the URL of a database may hold a password, in its user part or as a parameter; in doubt it does."""
    return re.search(r":.*:.*@|[?&;]\w*password=", url, re.IGNORECASE | re.DOTALL) is not None


def _ledger_url(url: SecretStr) -> SecretStr:
    """`~` is the home directory, as in a shell."""
    path = _secret(url).get_secret_value().removeprefix(_SQLITE_HOME)
    if not url.get_secret_value().startswith(_SQLITE_HOME):
        return url
    try:
        return SecretStr(f"sqlite:///{Path.home()}/{path}")
    except RuntimeError:
        raise ValueError("this user has no home directory: give sqlite:////absolute/path/ledger.db") from None


def _show_list(values: Iterable[str]) -> str:
    return ", ".join(values)


def _show_bounds(bounds: Iterable[float]) -> str:
    return ", ".join(f"{bound:g}" for bound in bounds)


CRON_FIELDS: Final = 5
TEXT: Final = Notation("TEXT")
SWITCH: Final = Notation("[true|false]", lambda is_on: str(is_on).lower())
NUMBER: Final = Notation("N", lambda number: f"{number:g}")
_SECRET: Final = Notation("SECRET", lambda _: "", is_secret=_always)
_SQLITE_HOME: Final = "sqlite:///~/"

Duration = Annotated[float, BeforeValidator(parse_duration), Notation("DURATION", format_duration)]
WebAddress = Annotated[str, AfterValidator(_web_address), Notation("URL")]
ApiUrl = Annotated[str, Notation("URL")]
Address = Annotated[str, AfterValidator(_address), Notation("HOST:PORT")]
FileName = Annotated[str, AfterValidator(_filled), Notation("FILE")]
ArchiveTo = Annotated[str, AfterValidator(_archive_address), Notation("URL")]
InstallationName = Annotated[str, AfterValidator(_installation), Notation("NAME")]
CronExpression = Annotated[str, AfterValidator(_cron), Notation("CRON")]
TimeZone = Annotated[str, AfterValidator(_time_zone), Notation("ZONE")]
UserName = Annotated[str, AfterValidator(_user_name), Notation("NAME")]
Secret = Annotated[SecretStr, AfterValidator(_secret), _SECRET]
Token = Annotated[SecretStr, AfterValidator(_token), _SECRET]
LedgerUrl = Annotated[
    SecretStr,
    AfterValidator(_ledger_url),
    Notation("URL", SecretStr.get_secret_value, is_secret=holds_password),
]
Pattern = Annotated[str, AfterValidator(_pattern)]
Patterns = Annotated[tuple[Pattern, ...], BeforeValidator(_split), Notation("PATTERN,…", _show_list)]
Names = Annotated[tuple[str, ...], BeforeValidator(_split), Notation("NAME,…", _show_list)]
Namespace = Annotated[str, AfterValidator(check_namespace), Notation("NAME")]
CloudWatchMetrics = Annotated[tuple[PushedName, ...], BeforeValidator(_split), Notation("NAME,…", _show_list)]
Buckets = Annotated[
    tuple[float, ...],
    BeforeValidator(_split),
    AfterValidator(_ascending),
    Notation("SECONDS,…", _show_bounds),
]


class CauseRule(BaseModel):
    """A user's failure cause: `cause` when `pattern` (a regular expression) is found in a state message."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    cause: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
    pattern: Pattern


CauseRules = Annotated[tuple[CauseRule, ...], BeforeValidator(parse_yaml), Notation("YAML", lambda _: "")]
