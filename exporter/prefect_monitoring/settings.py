"""Every option, declared once: flag, environment variable, key of the YAML file, default, help.

How to reach Prefect is not here: address, key, TLS and proxies are Prefect's own settings (`PREFECT_API_URL`, …).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from prefect_monitoring.fold import DURATION, START_DELAY
from prefect_monitoring.series import DEFAULT_BOUNDS

ENV_PREFIX: Final = "PREFECT_MONITORING_"
CONFIG_ENV: Final = ENV_PREFIX + "CONFIG"
# What Kubernetes puts into the pods beside a Service of our name; no option is called so.
_SERVICE_LINK: Final = re.compile(ENV_PREFIX + r"(?:SERVICE_(?:HOST|PORT\w*)|PORT(?:_\d+_\w+)?)")
_UNITS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


class SettingsError(Exception):
    """One or more options are wrong; the message has a line for each."""


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


def _ascending(bounds: tuple[float, ...]) -> tuple[float, ...]:
    if not bounds or list(bounds) != sorted(set(bounds)) or bounds[0] <= 0 or not all(map(math.isfinite, bounds)):
        raise ValueError("bucket bounds are positive numbers, ascending, each once; +Inf is added")
    return bounds


Duration = Annotated[float, BeforeValidator(parse_duration)]
Address = Annotated[str, AfterValidator(_address)]
Pattern = Annotated[str, AfterValidator(_pattern)]
Patterns = Annotated[tuple[Pattern, ...], BeforeValidator(_split)]
Names = Annotated[tuple[str, ...], BeforeValidator(_split)]
Buckets = Annotated[tuple[float, ...], BeforeValidator(_split), AfterValidator(_ascending)]


class CauseRule(BaseModel):
    """A failure cause of the user's own: `cause` when `pattern` (a regular expression) is found in a state message."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    cause: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")]
    pattern: Pattern


def _default_ledger() -> str:
    return f"sqlite:///{Path.home() / '.prefect-monitoring' / 'ledger.db'}"


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    listen: Address = Field("127.0.0.1:9877", description="Address to serve on, HOST:PORT.")
    poll_interval: Duration = Field(15.0, gt=0, description="How often finished and active flow runs are read.")
    inventory_interval: Duration = Field(
        60.0, gt=0, description="How often flows and deployments are read, and closed hours compared with the API."
    )
    source_timeout: Duration = Field(
        30.0, gt=0, description="How long one reading of a source may take before it counts as failed."
    )
    max_requests_per_second: float = Field(
        20.0, gt=0, allow_inf_nan=False, description="Ceiling on requests to the Prefect API."
    )
    ledger_url: str = Field(
        default_factory=_default_ledger,
        description="The ledger that makes counters survive restarts: sqlite:////absolute/path/ledger.db.",
    )
    ledger_wait: Duration = Field(
        30.0, ge=0, description="How long to wait for the ledger while another process still holds it."
    )
    moved_from: str = Field(
        "", description="The Prefect API address that the ledger knows, once, when that same server has moved."
    )
    lookback: Duration = Field(
        30 * 86400.0,
        ge=3600,
        description="How much history a first start loads as its starting level, and how long runs are remembered.",
    )
    birth_hold: Duration = Field(
        70.0,
        ge=0,
        description="How long a new series shows 0 before its first increment. A little over the scrape interval.",
    )
    series_ttl: Duration = Field(
        7 * 86400.0,
        gt=0,
        description="How long the counters of a deleted or renamed flow or deployment are still shown.",
    )
    include_flows: Patterns = Field((), description="Only flows whose name matches one of these patterns.")
    exclude_flows: Patterns = Field((), description="No flows whose name matches one of these patterns.")
    include_deployments: Patterns = Field((), description="Only runs of matching deployments (^$: runs without one).")
    exclude_deployments: Patterns = Field((), description="No runs of matching deployments.")
    include_tags: Patterns = Field((), description="Only runs with a matching tag, the deployment's tags included.")
    exclude_tags: Patterns = Field((), description="No runs with a matching tag.")
    include_pools: Patterns = Field((), description="Only runs in matching work pools (^$: runs outside pools).")
    exclude_pools: Patterns = Field((), description="No runs in matching work pools.")
    max_pairs: int = Field(
        2000, gt=0, description="Label cap: (flow, deployment) pairs beyond it are counted together as (other)."
    )
    duration_buckets: Buckets = Field(
        DEFAULT_BOUNDS[DURATION], description="Upper bounds of the duration histogram, seconds."
    )
    start_delay_buckets: Buckets = Field(
        DEFAULT_BOUNDS[START_DELAY], description="Upper bounds of the start delay histogram, seconds."
    )
    metrics_off: Names = Field((), description="Metric families not to expose, by name.")
    failure_causes: Annotated[tuple[CauseRule, ...], BeforeValidator(_parse_yaml)] = Field(
        (), description="Failure causes of your own, tried before the built-in ones: a list of {cause, pattern}."
    )
    log_format: Literal["text", "json"] = Field("text", description="Log lines for people or for machines.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="The least level to log.")


def env_name(option: str) -> str:
    return ENV_PREFIX + option.upper()


def flag_name(option: str) -> str:
    return "--" + option.replace("_", "-")


def load_settings(flags: Mapping[str, str], environment: Mapping[str, str], config: Path | None = None) -> Settings:
    """The settings from flags, environment and the YAML file `config`; a flag beats the environment beats the file.

    Raises SettingsError, which names every wrong option and where it was given.
    """
    from_environment = {
        name.removeprefix(ENV_PREFIX).lower(): value
        for name, value in environment.items()
        if name.startswith(ENV_PREFIX) and name != CONFIG_ENV and not _SERVICE_LINK.fullmatch(name)
    }
    from_file = _read_yaml(config) if config is not None else {}
    merged = {**from_file, **from_environment, **flags}
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        lines = [_fault(dict(fault), flags, from_environment, config) for fault in error.errors(include_url=False)]
        raise SettingsError("\n".join(lines)) from None


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not YAML: {error}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingsError(f"{path} must hold options as `key: value` lines, such as `poll_interval: 15s`")
    return {str(key): value for key, value in content.items()}


def _fault(
    fault: Mapping[str, Any], flags: Mapping[str, str], environment: Mapping[str, str], config: Path | None
) -> str:
    option = str(fault["loc"][0])
    if option in flags:
        where = flag_name(option)
    elif option in environment:
        where = env_name(option)
    else:
        where = f"{config}: {option}"
    if fault["type"] == "extra_forbidden":
        return f"{where}: there is no such option; docs/configuration.md lists them all"
    deeper = ".".join(str(part) for part in fault["loc"][1:])
    return f"{where}{' (' + deeper + ')' if deeper else ''}: {str(fault['msg']).removeprefix('Value error, ')}"
