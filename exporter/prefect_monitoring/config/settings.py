"""Every option, declared once: flag, environment variable, key of the YAML file, default, help.

Address, key, TLS and proxies of Prefect are not here: they are Prefect's own settings (`PREFECT_API_URL`, …).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from prefect_monitoring.analysis.failure_causes import KNOWN_CAUSES
from prefect_monitoring.config.assets import Assets
from prefect_monitoring.config.custom_metrics import CustomMetrics, fault_at
from prefect_monitoring.config.types import (
    NUMBER,
    SWITCH,
    TEXT,
    Address,
    ApiUrl,
    ArchiveTo,
    Buckets,
    CauseRules,
    CloudWatchMetrics,
    CronExpression,
    Duration,
    FileName,
    InstallationName,
    LedgerUrl,
    Names,
    Namespace,
    Notation,
    Patterns,
    Secret,
    TimeZone,
    Token,
    UserName,
    WebAddress,
)
from prefect_monitoring.model.counted_metrics import DEFAULT_BOUNDS, DURATION, START_DELAY
from prefect_monitoring.model.pushed_metrics import PUSHED_NAMES

ENV_PREFIX: Final = "PREFECT_MONITORING_"
CONFIG_ENV: Final = ENV_PREFIX + "CONFIG"
# Options that need another one: half of the credentials, for example, would leave the endpoints open.
NEEDS: Final = {
    "auth_username": "auth_password",
    "auth_password": "auth_username",
    "tls_key": "tls_cert",
    "report_schedule": "report_slack_webhook_url",
}


class SettingsError(Exception):
    """One or more options are wrong; the message has a line for each."""


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
        120.0, gt=0, description="How often counts of closed hours are compared with the API's."
    )
    source_timeout: Duration = Field(30.0, gt=0, description="How long a reading of a source may take.")
    heartbeat_interval: Duration = Field(
        180.0,
        gt=0,
        description="PREFECT_FLOWS_HEARTBEAT_FREQUENCY of the flows, until it is learned.",
    )
    max_requests_per_second: float = Field(
        20.0, gt=0, allow_inf_nan=False, description="Maximum request rate to the Prefect API."
    )


class WebSettings(Group, title="Endpoints"):
    """Where metrics are served, and who may read them."""

    listen: Address = Field("127.0.0.1:9877", description="Address to serve on.")
    tls_cert: FileName = Field(
        "", description="PEM file with the certificate chain for https, the server's own certificate first."
    )
    tls_key: FileName = Field("", description="PEM file with the private key, unless tls_cert has it.")
    auth_username: UserName = Field("", description="User name for basic auth, with auth_password.")
    auth_password: Secret = Field(SecretStr(""), description="Password for basic auth, with auth_username.")
    auth_password_file: FileName = Field("", description="File that holds auth_password.")
    auth_token: Token = Field(SecretStr(""), description="Token for bearer auth.")
    auth_token_file: FileName = Field("", description="File that holds auth_token.")


class LedgerSettings(Group, title="Ledger"):
    """The database that makes counters survive restarts."""

    ledger_url: LedgerUrl = Field(
        SecretStr("sqlite:///~/.prefect-monitoring/ledger.db"),
        validate_default=True,
        description="Database, such as sqlite:////absolute/path/ledger.db.",
    )
    ledger_url_file: FileName = Field("", description="File that holds ledger_url.")
    ledger_wait: Duration = Field(30.0, ge=0, description="How long to wait while another process holds the ledger.")
    moved_from: ApiUrl = Field("", description="Former Prefect API address, for one start after the server has moved.")


class HistorySettings(Group, title="History"):
    """How much history is loaded, and how long it is kept."""

    lookback: Duration = Field(
        30 * 86400.0,
        ge=3600,
        description="History that the first start loads as the baseline; runs are kept as long.",
    )
    task_lookback: Duration = Field(
        7 * 86400.0,
        ge=3600,
        description="The same for task runs and log lines; at most lookback.",
    )
    birth_hold: Duration = Field(
        70.0,
        ge=0,
        description="How long a new series shows 0: a little longer than the scrape interval.",
    )
    series_ttl: Duration = Field(
        7 * 86400.0,
        gt=0,
        description="How long counters of a deleted flow or deployment are shown.",
    )


class FilterSettings(Group, title="Filters"):
    """Which runs are counted."""

    include_flows: Patterns = Field((), description="Only flows with a matching name.")
    exclude_flows: Patterns = Field((), description="No flows with a matching name.")
    include_deployments: Patterns = Field((), description="Only runs of matching deployments (^$: runs without one).")
    exclude_deployments: Patterns = Field((), description="No runs of matching deployments.")
    include_tags: Patterns = Field((), description="Only runs with a matching tag, the deployment's tags included.")
    exclude_tags: Patterns = Field((), description="No runs with a matching tag.")
    include_pools: Patterns = Field((), description="Only runs in matching work pools (^$: runs outside pools).")
    exclude_pools: Patterns = Field((), description="No runs in matching work pools.")


class LabelSettings(Group, title="Labels"):
    """Values of labels, and limits on them."""

    max_pairs: int = Field(2000, gt=0, description="Pipelines beyond this are counted as (other).")
    max_tasks: int = Field(
        100,
        gt=0,
        description="Tasks of a pipeline beyond this are counted as (other).",
    )
    max_custom_metrics: int = Field(
        100,
        gt=0,
        description="Series of METRIC lines per pipeline; further ones are rejected.",
    )
    max_assets: int = Field(500, gt=0, description="Assets; materializations of further ones are rejected and counted.")
    max_tags: int = Field(10, gt=0, description="Tags shown per deployment.")
    deployment_tags: Patterns = Field(
        (
            *("critical", "standard", "low", "team:.+", "domain:.+", "env:.+"),
            *("hourly", "daily", "weekly", "monthly", "dbt"),
        ),
        description="Tags of deployments that are shown as labels.",
    )
    failure_causes: CauseRules = Field(
        (), description="Your failure causes, tried before the built-in ones: a list of {cause, pattern}."
    )
    failure_message: Literal["off", "type", "line"] = Field(
        "line",
        description="What messages show of an error: its redacted first line, only its type, or nothing.",
    )

    @property
    def known_causes(self) -> frozenset[str]:
        """Every failure cause that a run can have, the user's own among them."""
        return KNOWN_CAUSES | {rule.cause for rule in self.failure_causes}


class MetricSettings(Group, title="Metrics"):
    """Which metrics are exposed, and with which buckets."""

    duration_buckets: Buckets = Field(
        DEFAULT_BOUNDS[DURATION], description="Upper bounds of the duration histogram, seconds."
    )
    start_delay_buckets: Buckets = Field(
        DEFAULT_BOUNDS[START_DELAY], description="Upper bounds of the start delay histogram, seconds."
    )
    metrics_on: Names = Field((), description="Metrics to expose beside the default ones.")
    metrics_off: Names = Field((), description="Metrics not to expose; sources that only they need are not read.")
    custom_metrics: CustomMetrics = Field((), description="Your own metrics: a list (docs/custom-metrics.md).")
    assets: Assets = Field((), description="Assets whose materializations are read: a list (docs/custom-metrics.md).")

    @model_validator(mode="after")
    def _has_what_metrics_need(self) -> Self:
        if not self.assets:
            for index, metric in enumerate(self.custom_metrics):
                if metric.source.asset_metadata:
                    raise fault_at(
                        ("custom_metrics", index, "source", "asset_metadata"), "declare with `assets` which are read"
                    )
        return self


class PolicySettings(Group, title="Pipelines"):
    """What a team declares about its pipelines."""

    pipelines: FileName = Field("", description="The pipelines file (docs/pipelines.md).")
    installation: InstallationName = Field(
        "",
        description="Name such as prod; `automations` changes only what it made under this name.",
    )


class AlertSettings(Group, title="Alerts"):
    """What the exporter decides for the alert rules (docs/alerting.md)."""

    failures_unresolved_for: Duration = Field(
        4 * 3600.0,
        ge=300,
        description="How long a run that failed for good counts as unresolved at most.",
    )
    storm_pipelines: int = Field(
        5, ge=2, description="This many pipelines that fail of one cause are a storm: one alert for all."
    )
    storm_window: Duration = Field(300.0, gt=0, description="Time within which they must fail.")


class ActSettings(Group, title="Actions"):
    """Whether the action rules of the pipelines file are carried out (docs/automations.md)."""

    act: bool = Field(
        default=False,
        description="Carry out retry, on_failure, scale, skip and unresponsive: the only option that changes Prefect.",
    )
    dry_run: bool = Field(default=False, description="Log and count actions without doing them; overrides act.")
    act_api_key: Secret = Field(SecretStr(""), description="Prefect API key for actions. Default: the key for reading.")
    act_api_key_file: FileName = Field("", description="File that holds act_api_key.")
    act_max_per_hour: int = Field(
        100, gt=0, description="Fuse: after this many actions an hour, all stop until a quiet hour or --resume."
    )
    act_max_per_cause: int = Field(
        50, gt=0, description="Fuse: the same for actions with one cause, such as a failure cause."
    )


class CloudWatchSettings(Group, title="CloudWatch"):
    """What is pushed (docs/cloudwatch.md). Region and credentials are boto3's own settings."""

    cloudwatch_pipelines: Patterns = Field(
        (), description="Pipelines to push, as FLOW/DEPLOYMENT, such as `sales/.+`. Default: nothing."
    )
    cloudwatch_namespace: Namespace = Field("DataPipelines", description="Namespace of the metrics.")
    cloudwatch_metrics: CloudWatchMetrics = Field(PUSHED_NAMES, description="Metrics to push for each pipeline.")
    cloudwatch_custom_metrics: Patterns = Field(
        (), description="Metrics of METRIC lines to push as well, within cloudwatch_max_metrics."
    )
    cloudwatch_max_metrics: int = Field(
        10, gt=0, description="Metrics per pipeline at most, METRIC lines included; each costs money."
    )
    cloudwatch_alarm_actions: Names = Field(
        (), description="ARNs, such as SNS topics, that alarms of `cloudwatch apply` notify of start and end."
    )


class ReportSettings(Group, title="Weekly report"):
    """Printed by `report`, sent to Slack by `serve` (docs/report.md)."""

    report_schedule: CronExpression = Field(
        "", description="When `serve` sends the report to Slack, as in crontab: 0 8 * * mon. Default: never."
    )
    report_time_zone: TimeZone = Field("UTC", description="Time zone of schedule and report, such as Europe/Zurich.")
    report_days: int = Field(7, ge=1, le=31, description="Days that a report covers, 1 to 31.")
    report_slack_webhook_url: Secret = Field(SecretStr(""), description="Slack incoming webhook for reports.")
    report_slack_webhook_url_file: FileName = Field("", description="File that holds report_slack_webhook_url.")


class LinkSettings(Group, title="Links"):
    """Addresses for links in messages and on the status page."""

    prefect_ui_url: WebAddress = Field(
        "",
        description="Address of Prefect's UI. Default: PREFECT_UI_URL, else derived from the API's.",
    )
    grafana_url: WebAddress = Field("", description="Address of Grafana.")
    runbook_url: WebAddress = Field(
        "",
        description="Address of docs/runbooks/. Default: the exporter's /runbooks.",
    )


class ArchiveSettings(Group, title="Archive"):
    """Only for the command `archive` (docs/archive.md)."""

    archive_to: ArchiveTo = Field("", description="s3://bucket/prefix or file:///folder; also --to.")
    archive_listen: Address = Field("127.0.0.1:9878", description="Address of the archive's /metrics.")
    archive_settle: Duration = Field(
        600.0, ge=0, description="How long after its end a run is archived, since logs come late."
    )
    archive_interval: Duration = Field(300.0, gt=0, description="How often settled runs are archived.")
    archive_lookback: Duration = Field(
        7 * 86400.0, ge=3600, description="How far back archiving begins, and looks for later changes."
    )
    archive_recheck: Duration = Field(
        6 * 3600.0, gt=0, description="How often to look for later changes within archive_lookback."
    )
    archive_parameters: bool = Field(default=False, description="Archive parameters of runs, redacted.")
    archive_documents: bool = Field(
        default=True, description="Also write a JSON document per run; S3 charges a PUT for each."
    )
    archive_encryption: Literal["bucket", "sse-s3", "sse-kms"] = Field(
        "bucket", description="S3 encryption: the bucket's default, or requested with each file."
    )
    archive_kms_key: str = Field("", description="KMS key for sse-kms: id, ARN or alias. Default: S3's own.")


class LogSettings(Group, title="Logs"):
    """What the exporter writes to standard error."""

    log_format: Literal["text", "json"] = Field("text", description="Log lines for people or for machines.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Lowest level to log.")


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
    alerts: AlertSettings = Field(default_factory=AlertSettings)
    act: ActSettings = Field(default_factory=ActSettings)
    cloudwatch: CloudWatchSettings = Field(default_factory=CloudWatchSettings)
    report: ReportSettings = Field(default_factory=ReportSettings)
    links: LinkSettings = Field(default_factory=LinkSettings)
    archive: ArchiveSettings = Field(default_factory=ArchiveSettings)
    logs: LogSettings = Field(default_factory=LogSettings)


def _groups() -> dict[str, type[Group]]:
    annotations = {name: field.annotation for name, field in Settings.model_fields.items()}
    return {name: group for name, group in annotations.items() if isinstance(group, type) and issubclass(group, Group)}


GROUPS: Final = _groups()
OPTIONS: Final = {option: field for group in GROUPS.values() for option, field in group.model_fields.items()}
GROUP_OF: Final = {option: name for name, group in GROUPS.items() for option in group.model_fields}
# Each has a `…_file` beside it.
SECRETS: Final = tuple(option for option, field in OPTIONS.items() if field.annotation is SecretStr)


def in_groups(options: Mapping[str, object]) -> dict[str, dict[str, object]]:
    """Options by name, as `Settings` takes them. KeyError for a name that is no option."""
    grouped: dict[str, dict[str, object]] = {}
    for option, value in options.items():
        grouped.setdefault(GROUP_OF[option], {})[option] = value
    return grouped


def env_name(option: str) -> str:
    return ENV_PREFIX + option.upper()


def flag_name(option: str) -> str:
    return "--" + option.replace("_", "-")


def notation_of(option: str) -> Notation:
    """How values of the option are written."""
    field = OPTIONS[option]
    for item in field.metadata:
        if isinstance(item, Notation):
            return item
    if field.annotation is bool:
        return SWITCH
    if choices := get_args(field.annotation):
        return Notation("|".join(choices))
    return NUMBER if field.annotation in (int, float) else TEXT


def default_of(option: str) -> str:
    """The default as it is written; empty for none."""
    return notation_of(option).show(OPTIONS[option].default)
