"""PutMetricData as AWS documents it, which moto does not enforce: limits, faults, and accepted values."""

from __future__ import annotations

import gzip
import json
import math
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError, ReadTimeoutError

from prefect_monitoring.model.cloudwatch import MAX_BYTES

Call = dict[str, Any]


class Taken(NamedTuple):
    """A value of a metric, and how often it was pushed."""

    minute: float
    name: str
    dimensions: tuple[tuple[str, str], ...]
    value: float
    times: float


def answer(code: str, status: int) -> ClientError:
    return ClientError(
        {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": status}},
        "PutMetricData",
    )


ENDPOINT = "https://monitoring.example.com/"
ANSWER_LOST = "answer lost"  # the request is accepted all the same
FAULTS: Mapping[str, Callable[[], Exception]] = {
    "throttled": lambda: answer("ThrottlingException", 400),
    "unavailable": lambda: answer("InternalServiceFault", 500),
    "denied": lambda: answer("AccessDenied", 403),
    "no credentials": NoCredentialsError,
    "lost": lambda: EndpointConnectionError(endpoint_url=ENDPOINT),
    "hangs": lambda: ReadTimeoutError(endpoint_url=ENDPOINT),
    ANSWER_LOST: lambda: ReadTimeoutError(endpoint_url=ENDPOINT),
}


@dataclass
class FakeCloudWatch:
    """`faults`: those of the next requests, "" for none; `refuses` returns which member is invalid.

    `taken`: the accepted values by request. `gate` blocks requests while it is closed.
    """

    clock: Callable[[], float]
    faults: deque[str] = field(default_factory=deque)
    refuses: Callable[[Call], bool] = lambda member: False
    taken: list[list[Taken]] = field(default_factory=list)
    calls: int = 0
    gate: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    def put_metric_data(self, *, Namespace: str, MetricData: list[Call]) -> None:  # noqa: N803 as boto3 has it
        assert Namespace
        self.calls += 1
        assert self.gate.wait(60)
        fault = self.faults.popleft() if self.faults else ""
        error = FAULTS[fault]() if fault else None
        if error is not None and fault != ANSWER_LOST:
            raise error
        self._check_limits(MetricData)
        if any(self.refuses(member) for member in MetricData):
            raise answer("InvalidParameterValue", 400)
        self.taken.append([value for member in MetricData for value in values_of(member)])
        if error is not None:
            raise error

    def _check_limits(self, data: list[Call]) -> None:
        now = datetime.fromtimestamp(self.clock(), data[0]["Timestamp"].tzinfo)
        assert 1 <= len(data) <= 1000
        assert len(gzip.compress(json.dumps(data, default=str).encode())) <= MAX_BYTES
        for member in data:
            assert 1 <= len(member["Values"]) == len(member["Counts"]) <= 150
            assert len(member["Dimensions"]) <= 30
            assert all(math.isfinite(number) for number in (*member["Values"], *member["Counts"]))
            assert now - timedelta(days=14) <= member["Timestamp"] <= now + timedelta(hours=2)


def values_of(member: Call) -> list[Taken]:
    at = member["Timestamp"].timestamp()
    dimensions = tuple((dimension["Name"], dimension["Value"]) for dimension in member["Dimensions"])
    return [
        Taken(at, member["MetricName"], dimensions, value, count)
        for value, count in zip(member["Values"], member["Counts"], strict=True)
    ]
