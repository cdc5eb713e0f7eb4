"""The names of the metrics that are pushed to CloudWatch for each pipeline, and what they cost."""

from __future__ import annotations

from typing import Final, Literal, get_args

PushedName = Literal[
    "RunsCompleted",
    "RunsFailed",
    "RunsCancelled",
    "RunDuration",
    "StartDelay",
    "SuccessRate",
    "ConsecutiveFailures",
    "LastSuccessAge",
    "BudgetLeft",
]
PUSHED_NAMES: Final[tuple[PushedName, ...]] = get_args(PushedName)

# US East (N. Virginia), the first 10,000 metrics: https://aws.amazon.com/cloudwatch/pricing/, read in November 2026.
DOLLARS_PER_METRIC: Final = 0.30
DOLLARS_PER_ALARM: Final = 0.10
DOLLARS_PER_DASHBOARD: Final = 3.00
DOLLARS_PER_REQUEST: Final = 0.01 / 1000
MINUTES_PER_MONTH: Final = 30 * 24 * 60
