"""The bad month: each incident fires its alert, once, as severe as it is, and it resolves; nothing else fires."""

from dataclasses import replace

from months.bad import SITE, WATCH
from months.bad_acting import SITES, STORM
from months.expected import Expected, differences
from months.rules import shipped_groups
from months.schedules import HOUR, MINUTE, on


def expect(
    alert: str,
    severity: str,
    begin: tuple[int, float, float],
    end: tuple[int, float, float],
    why: str = "",
    **labels: str,
) -> Expected:
    """`begin` and `end` are a day, hours and minutes."""
    first, last = (on(day, hours) + minutes * MINUTE for day, hours, minutes in (begin, end))
    return Expected(alert, severity, first, last, labels, why)


STORM_SEVERITIES = {flow: "critical" if flow == "storm-a" else "warning" for flow in STORM}
EACH = "each failure is told as it comes; the one that completes in between resolves it"
LATE = "the run that should begin is late"

EXPECTED = (
    expect("PrefectRunFailed", "critical", (1, 5, 3.5), (1, 6, 3.5), flow="core", team="sales"),
    expect("PrefectRunFailed", "warning", (1, 5, 6.8), (1, 6, 6.8), flow="std", criticality="standard"),
    expect("PrefectExporterDown", "critical", (1, 12, 14), (1, 12, 42)),
    expect("PrefectTargetDown", "warning", (1, 12, 17), (1, 12, 42), instance="10.0.0.1:9877"),
    expect("PrefectRunCrashed", "critical", (2, 5, 3.5), (2, 6, 3.5), flow="core"),
    # Three in a row; they are also three within the hour, until the first is an hour old.
    expect("PrefectRepeatedFailure", "warning", (2, 10, 32.6), (2, 11, 2.6), flow="minor", criticality="low"),
    # Three within the hour, with completed runs in between.
    expect("PrefectRepeatedFailure", "warning", (3, 9, 25.8), (3, 10, 5.8), flow="busy"),
    *(
        expect("PrefectRunFailed", "warning", (3, 9, minute + 0.8), (3, 9, minute + 5.8), EACH, flow="busy")
        for minute in (5, 15, 25)
    ),
    expect("PrefectRunTooLong", "critical", (3, 12, 30.1), (3, 12, 55.1), flow="core"),
    expect("PrefectPoolWithoutWorkers", "critical", (3, 20, 4.3), (3, 20, 42), work_pool="gpu"),
    expect("PrefectStartLate", "warning", (3, 20, 7), (3, 20, 47), LATE, flow="model"),
    expect("PrefectRunTooLong", "warning", (4, 7, 0.1), (4, 7, 35.1), flow="declared"),
    expect("PrefectTaskBottleneck", "info", (4, 7, 30.1), (5, 6, 20.1), flow="declared", task="transform"),
    expect("PrefectRunStuck", "warning", (4, 15, 15), (4, 15, 35), flow="core", state="pending"),
    expect("PrefectQueueNotPolled", "warning", (4, 20, 4.3), (4, 20, 42), work_pool="main", work_queue="slow"),
    expect("PrefectStartLate", "warning", (4, 20, 7), (4, 20, 47), LATE, flow="queued"),
    expect("PrefectStartLate", "warning", (5, 5, 5), (5, 5, 13), flow="core"),
    expect("PrefectApiDown", "critical", (5, 8, 0.8), (5, 8, 2.8)),
    expect("PrefectNotSucceeded", "critical", (5, 9, 12.1), (6, 7, 15.1), flow="fresh"),
    expect("PrefectStartMissed", "warning", (5, 15, 12), (5, 16, 5), flow="core"),
    expect("PrefectLimitFull", "warning", (5, 20, 17.3), (5, 20, 37), work_pool="small"),
    expect("PrefectStartLate", "warning", (5, 20, 7), (5, 20, 37), LATE, flow="limited"),
    expect("PrefectMetricOutOfLimits", "warning", (6, 6, 20.1), (7, 6, 20.1), flow="declared", metric="rows"),
    expect("PrefectNotSucceeded", "warning", (6, 8, 34), (6, 9, 35.8), flow="busy"),
    expect("PrefectLimitFull", "warning", (6, 20, 17.1), (6, 20, 37), limit="own/hourly"),
    expect("PrefectZombieRun", "warning", (7, 12, 0.1), (7, 14, 5.1), flow="core"),
    expect(
        "PrefectRunTooLong", "critical", (7, 6, 30.1), (7, 14, 5.1), "it was too long before it was dead", flow="core"
    ),
    expect("PrefectDeploymentPaused", "warning", (7, 13, 0), (8, 13, 5), flow="parent"),
    expect("PrefectMetricNotReported", "warning", (8, 6, 25.1), (9, 6, 20.1), flow="declared", metric="rows"),
    expect("PrefectZombieRun", "warning", (9, 12, 20.1), (9, 12, 40.1), flow="parent-part", state="orphaned"),
    expect("PrefectBudgetBurning", "warning", (9, 14, 25.8), (9, 15, 5.8), flow="busy"),
    expect(
        "PrefectRepeatedFailure", "warning", (9, 13, 25.8), (9, 15, 5.8), "three of them within the hour", flow="busy"
    ),
    *(
        expect("PrefectRunFailed", "warning", (9, 13, minute + 0.8), (9, 13, minute + 5.8), EACH, flow="busy")
        for minute in range(5, 90, 10)
    ),
    expect("PrefectTasksRetrying", "info", (10, 12, 3), (11, 5, 2), flow="core", task="extract"),
    expect("PrefectTasksRetrying", "info", (10, 12, 3), (11, 5, 2), flow="core", task="load"),
    expect("PrefectStillFailing", "warning", (10, 10, 20.1), (12, 6, 20.1), flow="declared"),
    expect("PrefectRunFailed", "warning", (10, 6, 20.1), (12, 6, 20.1), "it begins so", flow="declared"),
    # Two within three days are one too many, until the first is three days old.
    expect("PrefectBudgetSpent", "warning", (11, 6, 20.1), (13, 6, 0), flow="declared"),
    # More than half of the last 24 hours' runs are slow: from midnight, until the run that ends at 23:03.
    expect("PrefectGettingSlower", "warning", (12, 0, 15), (12, 23, 3.3), flow="core"),
    # What was failing before the outage still is, through it and after it.
    expect("PrefectRunFailed", "warning", (12, 15, 6.8), (12, 16, 6.8), flow="std"),
    expect("PrefectApiDown", "critical", (12, 15, 13), (12, 15, 42)),
    expect("PrefectNumbersOld", "warning", (13, 3, 16), (13, 3, 36), source="work_queues"),
    expect("PrefectPipelinesFileBroken", "warning", (13, 6, 1), (13, 6, 30)),
    # What was missing of everything stays told until everything is audited again, once an hour.
    replace(expect("PrefectRunsMissing", "warning", (13, 8, 32), (13, 10, 36), kind="flow_runs"), slack=HOUR),
    # An hour after the last of three runs.
    expect("PrefectSeriesFolded", "info", (13, 12, 3), (13, 15, 3), metric="prefect_task_run_outcomes_total"),
    expect("PrefectSeriesFolded", "info", (13, 12, 3), (13, 15, 3), metric="prefect_task_run_seconds_total"),
)

STORM_BEGINS = (11, 5, 3.2)  # when the fifth pipeline fails; each recovers an hour later

ACTING = (
    # It pages until the one critical pipeline of it has recovered.
    expect("PrefectFailureStorm", "critical", STORM_BEGINS, (11, 6, 1.2), cause="connection"),
    expect("PrefectFailureStorm", "warning", (11, 6, 1.2), (11, 6, 3.2), cause="connection"),
    *(
        expect("PrefectRunFailed", severity, (11, 5, 1.2 + k / 2), (11, 6, 1.2 + k / 2), flow=flow)
        for k, (flow, severity) in enumerate(STORM_SEVERITIES.items())
    ),
    *(
        expect("PrefectFailureInStorm", severity, STORM_BEGINS, (11, 6, 1.2 + k / 2), flow=flow)
        for k, (flow, severity) in enumerate(STORM_SEVERITIES.items())
    ),
    # Its siblings complete a minute after it, which began before it failed; those of the next hour resolve it.
    expect("PrefectRunFailed", "warning", (11, 6, 11.2), (11, 7, 12.2), flow="fan-out"),
    expect("PrefectActionsStopped", "critical", (11, 8, 27), (11, 9, 27), stopped_by="fuse"),
    expect("PrefectRetriesExhausted", "warning", (11, 13, 20), (11, 14, 16.2), flow="retried"),
    expect("PrefectRunFailed", "warning", (11, 13, 20), (11, 14, 16.2), flow="retried"),
    expect("PrefectActionFailed", "warning", (11, 16, 16.2), (11, 16, 36.2), action="retry", flow="retried"),
    expect("PrefectRunFailed", "warning", (11, 16, 16.2), (11, 17, 16.2), flow="retried"),
    expect("PrefectRunFailed", "warning", (11, 18, 26.2), (11, 19, 26.2), flow="upstream"),
    expect("PrefectDownstreamPaused", "warning", (11, 18, 26.2), (11, 19, 31.2), flow="downstream"),
    expect("PrefectRunUnresponsive", "critical", (11, 21, 41.2), (11, 22, 0.2), flow="beating"),
    expect("PrefectAssetStale", "warning", (12, 2, 38.2), (12, 4, 41.2), asset="s3://lake/orders"),
    expect("PrefectArchiveBehind", "warning", (12, 3, 55), (12, 18, 0)),
    expect("PrefectArchiveIncomplete", "warning", (12, 12, 0), (13, 0, 0)),
    expect("PrefectAutomationActionFailed", "warning", (12, 10, 0), (12, 11, 5)),
    expect("PrefectSinkFailing", "warning", (12, 12, 20), (12, 13, 2), sink="cloudwatch"),
    # What is refused is lost, and nothing waits: it alerts while it has been so for half an hour.
    expect("PrefectSinkFailing", "warning", (12, 15, 36), (12, 17, 14), sink="cloudwatch"),
    # It is tried again once an hour.
    replace(expect("PrefectRecordsUnreadable", "info", (13, 3, 0), (13, 6, 0)), slack=HOUR + 20 * MINUTE),
)

REPLICATED = (
    # To the replica that is cut off meanwhile, it goes on failing.
    expect("PrefectRunFailed", "critical", (11, 12, 1.2), (11, 12, 21.2), flow="payroll"),
    expect("PrefectNumbersOld", "warning", (11, 12, 10), (11, 18, 2), instance="10.0.2.2:9877"),
    expect("PrefectTargetDown", "warning", (12, 20, 5), (12, 21, 0), instance="10.0.2.2:9877"),
)
EVERYTHING = (*EXPECTED, *ACTING, *REPLICATED)


def test_each_incident_fires_its_alert_once_and_resolves() -> None:
    assert differences([SITE, *SITES], WATCH, EVERYTHING) == ""


def test_every_alert_has_an_incident() -> None:
    alerts = {rule["alert"] for group in shipped_groups() for rule in group["rules"] if "alert" in rule}
    assert alerts == {one.alert for one in EVERYTHING} | {"PrefectWatchdog"}
