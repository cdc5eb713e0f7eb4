"""Every option, declared once: flag, environment variable, key of the YAML file, default, help.

How to reach Prefect is not here: address, key, TLS and proxies are Prefect's own settings (`PREFECT_API_URL`, …).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from prefect_monitoring.config.secrets import SecretFileError, read_secret
from prefect_monitoring.config.types import (
    Address,
    Buckets,
    CauseRules,
    Duration,
    FileName,
    Names,
    Patterns,
    Secret,
    Token,
    UserName,
    WebAddress,
)
from prefect_monitoring.model.counted_metrics import DEFAULT_BOUNDS, DURATION, START_DELAY

ENV_PREFIX: Final = "PREFECT_MONITORING_"
CONFIG_ENV: Final = ENV_PREFIX + "CONFIG"
# What Kubernetes puts into the pods beside a Service of our name; no option is called so.
_SERVICE_LINK: Final = re.compile(ENV_PREFIX + r"(?:SERVICE_(?:HOST|PORT\w*)|PORT(?:_\d+_\w+)?)")
# One is of no use, and would leave the endpoints open, without the other.
_NEEDS: Final = {"auth_username": "auth_password", "auth_password": "auth_username", "tls_key": "tls_cert"}


class SettingsError(Exception):
    """One or more options are wrong; the message has a line for each."""


def _default_ledger() -> str:
    return f"sqlite:///{Path.home() / '.prefect-monitoring' / 'ledger.db'}"


class Group(BaseModel):
    """Options that are handed on together."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class PollSettings(Group, title="Polling"):
    """What is read from the Prefect API, and how often."""

    poll_interval: Duration = Field(15.0, gt=0, description="How often finished and active flow runs are read.")
    inventory_interval: Duration = Field(
        60.0, gt=0, description="How often flows, deployments, work pools, queues and limits are read."
    )
    audit_interval: Duration = Field(
        120.0, gt=0, description="How often what was counted in closed hours is compared with the API's own counts."
    )
    source_timeout: Duration = Field(
        30.0, gt=0, description="How long one reading of a source may take before it counts as failed."
    )
    max_requests_per_second: float = Field(
        20.0, gt=0, allow_inf_nan=False, description="Ceiling on requests to the Prefect API."
    )


class WebSettings(Group, title="Endpoints"):
    """Where metrics are served, and who may read them."""

    listen: Address = Field("127.0.0.1:9877", description="Address to serve on, HOST:PORT.")
    tls_cert: FileName = Field(
        "", description="PEM file with the certificate chain to serve https with, the server's own certificate first."
    )
    tls_key: FileName = Field("", description="PEM file with its private key, unless tls_cert holds that too.")
    auth_username: UserName = Field("", description="User name to ask readers for (basic auth), with auth_password.")
    auth_password: Secret = Field(
        SecretStr(""), description="Password to ask readers for (basic auth), with auth_username."
    )
    auth_password_file: FileName = Field("", description="File that holds auth_password. The password has no flag.")
    auth_token: Token = Field(SecretStr(""), description="Token to ask readers for (bearer auth).")
    auth_token_file: FileName = Field("", description="File that holds auth_token. The token has no flag.")


class LedgerSettings(Group, title="Ledger"):
    """The database that makes counters survive restarts."""

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


class HistorySettings(Group, title="History"):
    """How much is loaded, and how long it is kept."""

    lookback: Duration = Field(
        30 * 86400.0,
        ge=3600,
        description="How much history a first start loads as its starting level, and how long runs are remembered.",
    )
    task_lookback: Duration = Field(
        7 * 86400.0,
        ge=3600,
        description="The same for task runs and log lines; not more than `lookback`.",
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


class FilterSettings(Group, title="Filters"):
    """Which runs are counted."""

    include_flows: Patterns = Field((), description="Only flows whose name matches one of these patterns.")
    exclude_flows: Patterns = Field((), description="No flows whose name matches one of these patterns.")
    include_deployments: Patterns = Field((), description="Only runs of matching deployments (^$: runs without one).")
    exclude_deployments: Patterns = Field((), description="No runs of matching deployments.")
    include_tags: Patterns = Field((), description="Only runs with a matching tag, the deployment's tags included.")
    exclude_tags: Patterns = Field((), description="No runs with a matching tag.")
    include_pools: Patterns = Field((), description="Only runs in matching work pools (^$: runs outside pools).")
    exclude_pools: Patterns = Field((), description="No runs in matching work pools.")


class LabelSettings(Group, title="Labels"):
    """Which values labels have, and how many."""

    max_pairs: int = Field(
        2000, gt=0, description="Label cap: (flow, deployment) pairs beyond it are counted together as (other)."
    )
    max_tasks: int = Field(
        100,
        gt=0,
        description="Label cap: tasks of one (flow, deployment) pair beyond it are counted together as (other).",
    )
    max_custom_metrics: int = Field(
        100,
        gt=0,
        description="Label cap: series of METRIC lines of one (flow, deployment) pair; lines beyond are rejected.",
    )
    max_tags: int = Field(10, gt=0, description="Label cap: tags of one deployment beyond it are not shown.")
    deployment_tags: Patterns = Field(
        (
            *("critical", "standard", "low", "team:.+", "domain:.+", "env:.+"),
            *("hourly", "daily", "weekly", "monthly", "dbt"),
        ),
        description="Tags of deployments that are shown as labels: those that match one of these patterns.",
    )
    failure_causes: CauseRules = Field(
        (), description="Failure causes of your own, tried before the built-in ones: a list of {cause, pattern}."
    )


class MetricSettings(Group, title="Metrics"):
    """Which metrics are exposed, and with which buckets."""

    duration_buckets: Buckets = Field(
        DEFAULT_BOUNDS[DURATION], description="Upper bounds of the duration histogram, seconds."
    )
    start_delay_buckets: Buckets = Field(
        DEFAULT_BOUNDS[START_DELAY], description="Upper bounds of the start delay histogram, seconds."
    )
    metrics_on: Names = Field((), description="Metric families to expose that are not so by default, by name.")
    metrics_off: Names = Field((), description="Metric families not to expose, by name.")


class PolicySettings(Group, title="Pipelines"):
    """What a team declares about its pipelines."""

    pipelines: FileName = Field(
        "", description="YAML file that declares pipelines: criticality, team, objectives (docs/pipelines.md)."
    )


class LinkSettings(Group, title="Links"):
    """Addresses for links in messages and on the status page."""

    prefect_ui_url: WebAddress = Field(
        "",
        description="Where people open Prefect, for links in messages. Default: PREFECT_UI_URL, else from the API's.",
    )
    grafana_url: WebAddress = Field("", description="Where people open Grafana, for links in messages.")
    runbook_url: WebAddress = Field("", description="Where people read docs/runbooks/, for links in messages.")


class LogSettings(Group, title="Logs"):
    """What the exporter writes to standard error."""

    log_format: Literal["text", "json"] = Field("text", description="Log lines for people or for machines.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="The least level to log.")


class Settings(BaseModel):
    """Every option, by group. Users write them flat: `poll_interval` is `--poll-interval`, whatever its group."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    poll: PollSettings = Field(default_factory=PollSettings)
    web: WebSettings = Field(default_factory=WebSettings)
    ledger: LedgerSettings = Field(default_factory=LedgerSettings)
    history: HistorySettings = Field(default_factory=HistorySettings)
    filters: FilterSettings = Field(default_factory=FilterSettings)
    labels: LabelSettings = Field(default_factory=LabelSettings)
    metrics: MetricSettings = Field(default_factory=MetricSettings)
    policy: PolicySettings = Field(default_factory=PolicySettings)
    links: LinkSettings = Field(default_factory=LinkSettings)
    logs: LogSettings = Field(default_factory=LogSettings)


def _groups() -> dict[str, type[Group]]:
    annotations = {name: field.annotation for name, field in Settings.model_fields.items()}
    return {name: group for name, group in annotations.items() if isinstance(group, type) and issubclass(group, Group)}


GROUPS: Final = _groups()
OPTIONS: Final = {option: field for group in GROUPS.values() for option, field in group.model_fields.items()}
_GROUP_OF: Final = {option: name for name, group in GROUPS.items() for option in group.model_fields}


def in_groups(options: Mapping[str, object]) -> dict[str, dict[str, object]]:
    """Options by name, as `Settings` takes them. KeyError for a name that is no option."""
    grouped: dict[str, dict[str, object]] = {}
    for option, value in options.items():
        grouped.setdefault(_GROUP_OF[option], {})[option] = value
    return grouped


def env_name(option: str) -> str:
    return ENV_PREFIX + option.upper()


def flag_name(option: str) -> str:
    return "--" + option.replace("_", "-")


def has_flag(option: str) -> bool:
    """Not a secret: on a command line, every user of the machine can read it."""
    return OPTIONS[option].annotation is not SecretStr


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
    given = {**from_file, **from_environment, **flags}
    places = {
        **{option: f"{config}: {option}" for option in from_file},
        **{option: env_name(option) for option in from_environment},
        **{option: flag_name(option) for option in flags},
    }
    mentioned = {option.removesuffix("_file") for option in given}
    faults = _take_secret_files(given, places)
    faults += [
        f"{places.get(option) or places[f'{option}_file']}: is of no use without {needed}: give both, or neither"
        for option, needed in _NEEDS.items()
        if option in mentioned and needed not in mentioned
    ]
    faults += [
        f"{places[option]}: there is no such option; docs/configuration.md lists them all"
        for option in given
        if option not in OPTIONS
    ]
    try:
        settings = Settings.model_validate(
            in_groups({option: value for option, value in given.items() if option in OPTIONS})
        )
    except ValidationError as error:
        wrong = [_fault(dict(fault), places) for fault in error.errors(include_url=False, include_input=False)]
        raise SettingsError("\n".join(wrong + faults)) from None
    if faults:
        raise SettingsError("\n".join(faults))
    return settings


def _take_secret_files(given: dict[str, Any], places: dict[str, str]) -> list[str]:
    """Gives the secrets of which a file is named the values they have there; what is wrong with those files."""
    faults = []
    for secret in (option for option in OPTIONS if not has_flag(option)):
        file = f"{secret}_file"
        if not isinstance(given.get(file), str) or not given[file]:
            continue
        if secret in given:
            faults.append(f"{places[secret]} and {places[file]}: both give {secret}: leave one of them out")
            continue
        places[secret] = places[file]
        try:
            given[secret] = read_secret(given[file])
        except SecretFileError as fault:
            faults.append(f"{places[file]}: {fault}")
    return faults


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, ValueError) as error:
        # Not the parser's own words: they quote the file, and it may hold secrets.
        mark = getattr(error, "problem_mark", None)
        where = f" (line {mark.line + 1})" if mark else ""
        raise SettingsError(
            f"{path} is not YAML{where}: write `key: value` lines in UTF-8, and text with special characters in quotes"
        ) from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingsError(f"{path} must hold options as `key: value` lines, such as `poll_interval: 15s`")
    return {str(key): value for key, value in content.items()}


def _fault(fault: Mapping[str, Any], places: Mapping[str, str]) -> str:
    _, option, *path = fault["loc"]
    deeper = ".".join(str(part) for part in path)
    where = f"{places[str(option)]} ({deeper})" if deeper else places[str(option)]
    return f"{where}: {str(fault['msg']).removeprefix('Value error, ')}"
