"""A small snapshot with every field set, which tests change as needed."""

from __future__ import annotations

from prefect_monitoring.model.actions import Acting, Action, ActionResult, Hold, Kind, action_key
from prefect_monitoring.model.changes import KnownRun, LastValue, Schedule, SeriesKey
from prefect_monitoring.model.counted_metrics import (
    CUSTOM_OBSERVED,
    CUSTOM_VALUE,
    DURATION,
    FAILED_ACTIONS,
    FAILURES,
    OUTCOMES,
    REJECTED,
    RETRIES,
    START_DELAY,
    TASK_DURATION,
    TASK_FAILURES,
    TASK_OUTCOMES,
    TASK_RETRIES,
    TASK_SECONDS,
)
from prefect_monitoring.model.inventory import Inventory
from prefect_monitoring.model.records import (
    NO_FLOW,
    ConcurrencyLimit,
    Deployment,
    Pipeline,
    Workers,
    WorkPool,
    WorkQueue,
)
from prefect_monitoring.model.run_quantiles import RunQuantiles
from prefect_monitoring.model.run_stats import RunStats
from prefect_monitoring.model.series import Series
from prefect_monitoring.model.sink_status import NO_ERRORS, SinkError, SinkStatus
from prefect_monitoring.model.source_status import READING_BOUNDS, FileStatus, ReconciliationReport, SourceStatus
from prefect_monitoring.policy.action_rules import OnFailure, Retry
from prefect_monitoring.policy.pipelines_file import Limits
from prefect_monitoring.policy.resolve import Policy
from prefect_monitoring.snapshot.model import ActionsReport, ActiveRuns, Health, Links, SelfReport, Snapshot

PIPELINE = Pipeline("etl", "daily")
ODD = Pipeline('we"ird\\\nflow', "")
NOW = 1772452800.0
ROWS = SeriesKey(CUSTOM_OBSERVED, PIPELINE, "rows", "load", (("table", "orders"),))
TEMPERATURE = SeriesKey(CUSTOM_OBSERVED, PIPELINE, "temperature", "", (("room", "a"), ("sensor", "2")))


def counter(value: float) -> Series:
    return Series(value, (), released=True)


def by_metric(series: dict[SeriesKey, Series]) -> dict[str, dict[SeriesKey, Series]]:
    grouped: dict[str, dict[SeriesKey, Series]] = {}
    for key, value in series.items():
        grouped.setdefault(key.metric, {})[key] = value
    return grouped


def _series() -> dict[SeriesKey, Series]:
    return {
        SeriesKey(OUTCOMES, PIPELINE, "completed"): counter(12.0),
        SeriesKey(OUTCOMES, PIPELINE, "failed"): counter(1.0),
        SeriesKey(OUTCOMES, ODD, "completed"): counter(0.0),
        SeriesKey(FAILURES, PIPELINE, "auth"): counter(1.0),
        SeriesKey(RETRIES, PIPELINE): counter(2.0),
        SeriesKey(DURATION, PIPELINE): Series(20.5, (4, 7, 1), released=True),
        SeriesKey(START_DELAY, PIPELINE): Series(33.0, (13, 0), released=True),
        SeriesKey(TASK_OUTCOMES, PIPELINE, "completed", "load"): counter(24.0),
        SeriesKey(TASK_OUTCOMES, PIPELINE, "failed", "load"): counter(0.0),
        SeriesKey(TASK_OUTCOMES, NO_FLOW, "cached", "warm_up"): counter(3.0),
        SeriesKey(TASK_SECONDS, PIPELINE, task="load"): counter(61.25),
        SeriesKey(TASK_RETRIES, PIPELINE, task="load"): counter(5.0),
        SeriesKey(TASK_FAILURES, PIPELINE, "rate_limit", "load"): counter(5.0),
        SeriesKey(TASK_DURATION, Pipeline("etl", ""), task="load"): Series(61.25, (20, 3, 1), released=True),
        ROWS: Series(4200.0, (3,), released=True),
        TEMPERATURE: Series(43.5, (2,), released=True),
        action_key(PIPELINE, Kind.RETRY, ActionResult.DONE): counter(3.0),
        action_key(PIPELINE, Kind.RETRY, ActionResult.FAILED): counter(0.0),
        SeriesKey(REJECTED, NO_FLOW, "malformed"): counter(1.0),
        SeriesKey(REJECTED, NO_FLOW, "too_many"): counter(0.0),
        SeriesKey(FAILED_ACTIONS, NO_FLOW, "to Slack"): counter(2.0),
    }


def _inventory() -> Inventory:
    return Inventory(
        pools=(WorkPool("k8s", "kubernetes", paused=False, ready=True, slots=4, slots_used=1),),
        workers={"k8s": Workers(2, 1, NOW - 10)},
        queues=(WorkQueue("k8s", "default", paused=False, ready=True, slots=2, last_polled=NOW - 5),),
        limits={"database": ConcurrencyLimit("database", None, 5, 2)},
        automations={True: 2, False: 1},
        tags={"d": ("critical",)},
    )


def _about() -> SelfReport:
    readings = [0] * (len(READING_BOUNDS) + 1)
    readings[0], readings[-1] = 3, 1
    nothing = Series(0.0, (0,) * len(readings), released=True)
    return SelfReport(
        version="9.9.9",
        prefect_version="3.8.8",
        api_up=True,
        ledger_created_at=NOW - 86400,
        ledger_bytes=4096,
        sources=(
            SourceStatus("flows", True, NOW - 5, NOW - 6, Series(99.25, tuple(readings), released=True), 40, ""),
            SourceStatus("audit_flow_runs", None, None, None, nothing, 0, "not read yet"),
        ),
        requests={("/flows/filter", "200"): 4},
        throttled=0,
        folded={OUTCOMES: 3},
        reconciliations={
            "flow_runs": ReconciliationReport(0, NOW - 90),
            "task_runs": ReconciliationReport(2, NOW - 100),
        },
        links=Links("http://prefect", "", "https://docs/runbooks"),
        pipelines_file=FileStatus(valid=True, last_success=NOW - 10),
        sinks=(
            SinkStatus("cloudwatch", NOW - 75, NOW - 15, {**NO_ERRORS, SinkError.THROTTLED: 2}),
            SinkStatus("report"),
        ),
    )


def _actions() -> ActionsReport:
    retry = Action(
        *("a1", Kind.RETRY, PIPELINE, NOW - 50, NOW, ActionResult.EXHAUSTED, "3 of 3 retries are used", NOW - 50),
        run_id="0e1c",
        run_name="able-lynx",
        cause="auth",
        attempt=3,
        allowed=3,
    )
    pause = Action(
        *("a2", Kind.PAUSE, PIPELINE, NOW - 45, NOW, ActionResult.DONE, "", NOW - 44),
        run_name="able-lynx",
        cause="auth",
        target="d2",
        target_name="report/daily",
        hold=Hold.HELD,
    )
    acting = Acting(NOW - 3600, NOW - 40, "100 actions within an hour")
    return ActionsReport(acting, (pause, retry), (pause,))


def make_snapshot() -> Snapshot:
    failure = KnownRun(
        *("0e1c", PIPELINE, "5", "FAILED", NOW - 60, 1),
        start_counted=True,
        ended_at=NOW - 60,
        name="able-lynx",
        cause="auth",
        message='PermissionError: "orders" is closed',
    )
    deployment = Deployment(
        "d", "daily", "f", "k8s", "default", ("critical", "mine"), paused=False, ready=True, schedules="[1]"
    )
    return Snapshot(
        taken_at=NOW,
        bounds={DURATION: (1.0, 2.5), START_DELAY: (60.0,), TASK_DURATION: (1.0, 10.0), CUSTOM_OBSERVED: ()},
        series=by_metric(_series()),
        values={
            SeriesKey(CUSTOM_VALUE, PIPELINE, ROWS.detail, ROWS.task, ROWS.labels): LastValue(1500.0, NOW - 60),
            SeriesKey(CUSTOM_VALUE, PIPELINE, TEMPERATURE.detail, "", TEMPERATURE.labels): LastValue(21.25, NOW - 70),
            SeriesKey(CUSTOM_VALUE, NO_FLOW, "plain", "warm_up"): LastValue(7.0, NOW - 80),
        },
        run_stats={
            PIPELINE: RunStats(
                last_outcomes={"completed": NOW - 3600, "failed": NOW - 60},
                recent_durations=(1.5, 2.0, 0.5),
                consecutive_failures=1,
                unresolved=1,
                unresolved_since=NOW - 60,
                failing_since=NOW - 60,
                recent_failures=(NOW - 60, NOW - 7200),
                last_failure=failure,
                last_failure_retries=3,
                window_runs={("1d", "good"): 12, ("1d", "bad"): 1, ("slo", "bad"): 2},
                baselines={"7d": 1.75},
                time_shares={"load": 0.75},
            )
        },
        quantiles={PIPELINE: RunQuantiles({("7d", "0.5"): 1.5, ("7d", "0.95"): 2.0}, {("30d", "0.95"): 12.5}, 3)},
        active=ActiveRuns(
            {(PIPELINE, "k8s", "running"): 2, (PIPELINE, "k8s", "late"): 1},
            {(PIPELINE, "running"): NOW - 30, (PIPELINE, "late"): NOW - 300},
            {("k8s", "default"): 1},
            {ODD: 1},
            slots_by_queue={("k8s", "default"): 2},
        ),
        active_tasks={(PIPELINE, "load", "running"): 3},
        deployments=((PIPELINE, deployment),),
        schedules={PIPELINE: Schedule(NOW - 3600, NOW + 3600, NOW - 7200, NOW - 9000)},
        policies={
            PIPELINE: Policy(
                *("critical", "data", ("daily", "dbt"), {"domain": "finance"}),
                *(0.995, 7 * 86400.0, 600.0, 1800.0, 93600.0, 259200.0),
                {"rows": Limits(min=1, max=1e6)},
                retry=Retry(max=3),
                on_failure=OnFailure(pause=("report/daily",), resume_on_success=True),
            ),
            ODD: Policy(),
        },
        inventory=_inventory(),
        about=_about(),
        health=Health(()),
        actions=_actions(),
    )


def all_series(snapshot: Snapshot) -> dict[SeriesKey, Series]:
    return {key: series for rows in snapshot.series.values() for key, series in rows.items()}
