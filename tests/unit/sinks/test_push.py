"""Pushing one minute to CloudWatch: every limit and fault; only unacceptable values are lost."""

from __future__ import annotations

import math
from collections import Counter, deque

import pytest
from botocore.exceptions import NoRegionError, ParamValidationError, ProfileNotFound

from prefect_monitoring.model.sink_status import SinkError
from prefect_monitoring.sinks.aws_errors import reason_of
from prefect_monitoring.sinks.cloudwatch.push import MAX_REFUSED_ALONE, Delivery, DeliveryError, delivery_of, send
from prefect_monitoring.sinks.cloudwatch.select import Item
from unit.fake_cloudwatch import FAULTS, FakeCloudWatch, answer

MINUTE = 1_800_000_000
NOW = MINUTE + 75.0
DAY = 86400


def fake() -> FakeCloudWatch:
    return FakeCloudWatch(lambda: NOW)


def delivery(items: list[Item]) -> Delivery:
    return delivery_of(items, MINUTE, "DataPipelines", "prod")


def item(name: str = "RunsFailed", flow: str = "etl", *counted: tuple[float, int]) -> Item:
    return [name, flow, "daily", *map(list, counted or ((1.0, 2),))]


def test_minute_is_pushed_with_unit_dimensions_and_stamp() -> None:
    cloudwatch, owed = fake(), delivery([item(), item("RunDuration", "etl", (3.5, 2), (4.0, 1))])
    request = owed.requests[0]
    send(cloudwatch, owed, NOW)
    assert request["Namespace"] == "DataPipelines"
    assert [
        (member["MetricName"], member["Unit"], member["StorageResolution"]) for member in request["MetricData"]
    ] == [
        ("RunsFailed", "Count", 60),
        ("RunDuration", "Seconds", 60),
    ]
    dimensions = (("Deployment", "daily"), ("Flow", "etl"), ("Installation", "prod"))
    assert cloudwatch.taken == [
        [
            (MINUTE, "RunsFailed", dimensions, 1.0, 2.0),
            (MINUTE, "RunDuration", dimensions, 3.5, 2.0),
            (MINUTE, "RunDuration", dimensions, 4.0, 1.0),
        ]
    ]
    assert not owed.requests


def test_counts_of_several_polls_within_a_minute_are_one_datum() -> None:
    owed = delivery([item(), item(), item("RunsFailed", "etl", (1.0, 5))])
    assert [member["Counts"] for member in owed.requests[0]["MetricData"]] == [[9.0]]


def test_large_minute_is_split_into_requests_within_the_limits() -> None:
    cloudwatch = fake()
    items = [item("RunDuration", f"flow {number}") for number in range(1500)]
    items.append(item("RunDuration", "busy", *((float(number), 1) for number in range(400))))
    owed = delivery(items)
    send(cloudwatch, owed, NOW)
    assert len(cloudwatch.taken) == 2
    assert sum(datum.times for request in cloudwatch.taken for datum in request) == 1500 * 2 + 400


@pytest.mark.parametrize("value", [math.nan, math.inf, 2.0**361])
def test_only_an_unsupported_value_is_lost(value: float) -> None:
    cloudwatch, owed = fake(), delivery([item(), item("rows", "etl", (value, 1), (5.0, 1))])
    send(cloudwatch, owed, NOW)
    assert Counter(datum.name for datum in cloudwatch.taken[0]) == {"RunsFailed": 1, "rows": 1}
    assert owed.lost == {SinkError.REFUSED: 1}
    assert "rows" in next(iter(owed.notes))


def test_only_a_refused_metric_is_lost() -> None:
    cloudwatch = fake()
    cloudwatch.refuses = lambda member: {"Name": "Flow", "Value": "flow 77"} in member["Dimensions"]
    owed = delivery([item("RunsFailed", f"flow {number}") for number in range(300)])
    send(cloudwatch, owed, NOW)
    taken = [datum.dimensions for request in cloudwatch.taken for datum in request]
    assert len(set(taken)) == len(taken) == 299
    assert owed.lost == {SinkError.REFUSED: 1}
    assert list(owed.notes) == ["CloudWatch refuses RunsFailed: ClientError (InvalidParameterValue)"]


def test_refusal_of_everything_takes_few_requests() -> None:
    cloudwatch = fake()
    cloudwatch.refuses = lambda member: True
    owed = delivery([item("RunsFailed", f"flow {number}") for number in range(1000)])
    send(cloudwatch, owed, NOW)
    assert owed.lost == {SinkError.REFUSED: 1000}
    assert not owed.requests
    assert cloudwatch.calls < 10 * MAX_REFUSED_ALONE


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("throttled", SinkError.THROTTLED),
        ("unavailable", SinkError.UNREACHABLE),
        ("denied", SinkError.CREDENTIALS),
        ("no credentials", SinkError.CREDENTIALS),
        ("lost", SinkError.UNREACHABLE),
        ("hangs", SinkError.UNREACHABLE),
    ],
)
def test_fault_has_a_reason_and_accepted_values_are_not_resent(fault: str, reason: SinkError) -> None:
    cloudwatch = fake()
    cloudwatch.faults = deque(["", fault])
    owed = delivery([item("RunsFailed", f"flow {number}") for number in range(2500)])
    with pytest.raises(DeliveryError) as raised:
        send(cloudwatch, owed, NOW)
    assert raised.value.reason is reason
    assert "example.com" not in str(raised.value)
    assert len(owed.requests) == 2
    send(cloudwatch, owed, NOW)
    taken = [datum.dimensions for request in cloudwatch.taken for datum in request]
    assert len(set(taken)) == len(taken) == 2500
    assert not owed.lost


@pytest.mark.parametrize(("age", "is_taken"), [(13 * DAY, True), (14 * DAY - 200, False), (20 * DAY, False)])
def test_minute_older_than_two_weeks_has_expired(age: float, is_taken: bool) -> None:
    cloudwatch = FakeCloudWatch(lambda: MINUTE + age)
    owed = delivery([item(), item("RunsCompleted")])
    send(cloudwatch, owed, MINUTE + age)
    assert bool(cloudwatch.taken) is is_taken
    assert owed.lost == ({} if is_taken else {SinkError.EXPIRED: 2})


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (NoRegionError(), SinkError.CONFIGURATION),
        (ProfileNotFound(profile="x"), SinkError.CONFIGURATION),
        (ModuleNotFoundError("boto3"), SinkError.CONFIGURATION),
        (ParamValidationError(report="x"), SinkError.REFUSED),
        (answer("SignatureDoesNotMatch", 403), SinkError.CREDENTIALS),
        (answer("ExpiredToken", 400), SinkError.CREDENTIALS),
        (answer("Unheard", 403), SinkError.CREDENTIALS),
        (answer("Unheard", 429), SinkError.THROTTLED),
        (answer("Unheard", 503), SinkError.UNREACHABLE),
        (answer("NoSuchBucket", 404), SinkError.CONFIGURATION),
        (answer("404", 404), SinkError.CONFIGURATION),
        (answer("Unheard", 413), SinkError.REFUSED),
        (ConnectionResetError(), SinkError.UNREACHABLE),
        (KeyError("x"), SinkError.INTERNAL),
        *((make(), None) for make in FAULTS.values()),
    ],
)
def test_errors_of_boto3_have_a_reason(error: Exception, reason: SinkError | None) -> None:
    assert reason_of(error) is reason or reason is None
    assert reason_of(error) is not SinkError.INTERNAL or isinstance(error, KeyError)
