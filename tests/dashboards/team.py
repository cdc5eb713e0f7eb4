"""A small data team as data: its pipelines, their tasks, pools and limits, on good days and in trouble."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

EVERY_DAY = tuple(range(7))
WEEKDAYS = tuple(range(5))  # Monday is 0
CRON_DAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")


@dataclass(frozen=True, slots=True)
class Reported:
    """A METRIC line: values between `low` and `high`; a third of that on weekends if `dips`."""

    name: str
    low: float
    high: float
    labels: str = ""  # as the line writes them: {table="orders"}
    dips: bool = False
    in_trouble: float | None = None  # the value of the last runs in trouble


@dataclass(frozen=True, slots=True)
class Step:
    """A task: its share of the run's time; the percentages of its runs that are cached, and that need a retry."""

    name: str
    share: float
    cached: int = 0
    retried: int = 0
    metrics: tuple[Reported, ...] = ()


@dataclass(frozen=True, slots=True)
class Health:
    """Percentages of failed and crashed runs; how many last runs failed in any case; since when no run has started."""

    failed: int = 0
    crashed: int = 0
    last_failed: int = 0
    silent: timedelta = timedelta(0)
    growth: float = 0.0  # growth of durations over the month: 0.5 is 50 % longer at its end


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Starts at `minute` past each of `hours` (UTC) on `days`; without `hours`, at unplanned times."""

    flow: str
    deployment: str  # "" for a flow that is run by hand
    pool: str
    seconds: float
    steps: tuple[Step, ...]
    hours: tuple[int, ...] = ()
    minute: int = 0
    days: tuple[int, ...] = EVERY_DAY
    queue: str = "default"
    tags: tuple[str, ...] = ()
    message: str = "Flow run encountered an exception: ValueError: 3 rows without a key"
    healthy: Health = field(default_factory=Health)
    in_trouble: Health | None = None  # None: same as without trouble
    flow_retries: int = 0  # percentage of runs that fail, are retried as a whole and complete
    ad_hoc: int = 0  # runs in the month of a flow that is run by hand

    def cron(self, minute: int) -> str | None:
        """The schedule, at a minute other than that of past runs."""
        if not self.hours:
            return None
        days = "*" if self.days == EVERY_DAY else ",".join(CRON_DAYS[day] for day in self.days)
        return f"{minute} {','.join(map(str, self.hours))} * * {days}"

    def health(self, trouble: bool) -> Health:
        return self.in_trouble if trouble and self.in_trouble is not None else self.healthy

    def is_due_on(self, day: datetime) -> bool:
        return day.weekday() in self.days


def every(hours: int, first: int = 0) -> tuple[int, ...]:
    return tuple(range(first, 24, hours))


DBT = Pipeline(
    "dbt-daily-pipeline",
    "production",
    "kubernetes",
    1260,
    (
        Step("dbt-seed", 0.06),
        Step("dbt-run", 0.68, metrics=(Reported("models_built", 212, 218),)),
        Step("dbt-test", 0.2, metrics=(Reported("tests_failed", 0, 2, in_trouble=14),)),
        Step("publish-docs", 0.04),
    ),
    hours=(5,),
    message="Flow run encountered an exception: dbt test not_null_orders_customer_id: 1,204 rows",
    tags=("daily", "dbt"),
    healthy=Health(growth=0.85),
    in_trouble=Health(growth=1.6, failed=4, silent=timedelta(hours=50)),
)
ORDERS = Pipeline(
    "extract-orders",
    "hourly",
    "kubernetes",
    250,
    (
        Step("list-files", 0.08),
        Step("download", 0.62, retried=4, metrics=(Reported("rows_extracted", 31_000, 58_000, dips=True),)),
        Step("load", 0.27, metrics=(Reported("rows_loaded", 30_000, 57_000, '{table="orders"}', dips=True),)),
    ),
    hours=every(1),
    minute=5,
    tags=("hourly",),
    message="Task run download-0 failed: ReadTimeout: the file server timed out",
    healthy=Health(failed=1),
)
CUSTOMERS = Pipeline(
    "extract-customers",
    "every-2-hours",
    "kubernetes",
    95,
    (
        Step("lookup-regions", 0.1, cached=80),
        Step("fetch", 0.55, metrics=(Reported("rows_extracted", 900, 2_400, dips=True),)),
        Step("load", 0.3),
    ),
    hours=every(2, 1),
    minute=20,
)
CRM = Pipeline(
    "sync-crm",
    "every-3-hours",
    "kubernetes",
    310,
    (
        Step("call-api", 0.58, retried=32, metrics=(Reported("contacts_synced", 400, 1_900),)),
        Step("match-accounts", 0.25),
        Step("write-back", 0.14, retried=6),
    ),
    hours=every(3),
    minute=40,
    queue="apis",
    message="Flow run encountered an exception: HTTPStatusError: 429 Too Many Requests",
    healthy=Health(failed=2),
    in_trouble=Health(failed=19, last_failed=1),
    flow_retries=6,
)
FINANCE = Pipeline(
    "finance-close",
    "weekdays",
    "on-premises",
    720,
    (
        Step("import-ledger", 0.2),
        Step("reconcile", 0.55, metrics=(Reported("unbalanced_eur", 0, 40, in_trouble=18_250.75),)),
        Step("post-journal", 0.2),
    ),
    hours=(6,),
    minute=30,
    days=WEEKDAYS,
    tags=("daily",),
    message="Flow run encountered an exception: OperationalError: could not obtain lock on relation journal",
    in_trouble=Health(last_failed=3),
)
FEATURES = Pipeline(
    "ml-features",
    "nightly",
    "kubernetes",
    2_900,
    (
        Step("load-events", 0.3),
        Step("build-features", 0.61, cached=8),
        Step("write-store", 0.07, metrics=(Reported("features_written", 1_180_000, 1_260_000),)),
    ),
    hours=(2,),
    message="Flow run infrastructure exited with non-zero status code 137 (OOMKilled)",
    tags=("daily",),
    healthy=Health(crashed=3),
    in_trouble=Health(crashed=28, last_failed=2, growth=0.3),
)
QUALITY = Pipeline(
    "quality-checks",
    "every-4-hours",
    "on-premises",
    140,
    (
        Step("sample", 0.22),
        Step(
            "measure",
            0.66,
            metrics=(
                Reported("null_share_percent", 0.4, 2.4, in_trouble=9.6),
                Reported("rows_checked", 90_000, 110_000),
            ),
        ),
        Step("report", 0.1),
    ),
    hours=every(4),
    minute=50,
    message="Flow run encountered an exception: data quality: 9.6 % of customer_id is null",
    healthy=Health(failed=1),
    in_trouble=Health(failed=3),
)
WEB_EVENTS = tuple(
    Pipeline(
        "load-web-events",
        region,
        "cloud-run",
        seconds,
        (
            Step("list-partitions", 0.1),
            Step("copy-partition", 0.7, retried=2, metrics=(Reported("rows_loaded", low, 3 * low, dips=True),)),
            Step("merge", 0.18),
        ),
        hours=every(6, first),
        minute=15,
        message="Flow run encountered an exception: ConnectionError: the warehouse closed the connection",
        healthy=Health(failed=1),
    )
    for region, seconds, low, first in (("eu", 520, 800_000, 0), ("us", 640, 1_100_000, 3))
)
NEWSLETTER = Pipeline(
    "send-newsletter",
    "mondays",
    "cloud-run",
    420,
    (Step("render", 0.2), Step("send", 0.75, metrics=(Reported("mails_sent", 20_100, 20_900),))),
    hours=(9,),
    days=(0,),
    tags=("weekly",),
)
ARCHIVE = Pipeline(
    "archive-logs",
    "daily",
    "on-premises",
    380,
    (Step("compress", 0.64), Step("upload", 0.3), Step("prune", 0.04)),
    hours=(23,),
    tags=("daily",),
)
BACKFILL = Pipeline(
    "backfill-partition",
    "",
    "",
    900,
    (Step("plan", 0.05, cached=30), Step("rewrite", 0.9)),
    message="Flow run encountered an exception: KeyError: 'partition'",
    healthy=Health(failed=14),
    ad_hoc=22,
)
TEAM = (DBT, ORDERS, CUSTOMERS, CRM, FINANCE, FEATURES, QUALITY, *WEB_EVENTS, NEWSLETTER, ARCHIVE, BACKFILL)

POOLS = {"kubernetes": ("kubernetes", 12), "on-premises": ("process", None), "cloud-run": ("cloud-run:push", None)}
QUEUES = {"kubernetes": {"apis": 2, "backfills": None}}
# Prefect Cloud reports push pools as ready without workers; a self-hosted server waits for a worker.
WORKERS = {"kubernetes": ("k8s-a", "k8s-b"), "on-premises": ("rack-1",), "cloud-run": ("cloud",)}
LIMITS = {"warehouse": 4, "crm-api": 2, "sftp": 1}

PIPELINES_FILE = """\
defaults:
  team: data-platform
pipelines:
  - flow: dbt-daily-pipeline
    criticality: critical
    team: analytics
    slo: {min_success_ratio: 97%, max_duration: 45m, max_staleness: 26h}
    metrics: {tests_failed: {max: 5}}
  - flow: finance-close
    criticality: critical
    team: finance
    slo: {min_success_ratio: 95%, max_duration: 30m}
    metrics: {unbalanced_eur: {min: 0, max: 100}}
    retry: {max: 3, only_causes: [rate_limit]}
    on_failure: {pause: [extract-customers/every-2-hours]}
  - flow: extract-orders
    criticality: standard
    team: ingestion
    slo: {min_success_ratio: 98%, max_duration: 15m}
    metrics: {rows_extracted: {min: 5000}}
    retry: {max: 2, delay: 12h}
  - flow: extract-customers
    team: ingestion
    slo: {min_success_ratio: 98%}
  - flow: sync-crm
    team: ingestion
    slo: {min_success_ratio: 95%, max_duration: 10m}
  - flow: quality-checks
    team: analytics
    slo: {min_success_ratio: 98%, max_duration: 10m}
    metrics: {null_share_percent: {max: 5}, rows_checked: {min: 50000}}
  - flow: ml-features
    team: machine-learning
    slo: {min_success_ratio: 90%, max_duration: 75m}
  - flow: load-web-events
    team: ingestion
    slo: {min_success_ratio: 97%}
  - flow: send-newsletter|archive-logs
    criticality: low
    max_pause: 3d
"""
