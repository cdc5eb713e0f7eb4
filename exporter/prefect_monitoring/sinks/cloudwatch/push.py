"""Pushes one minute's data to CloudWatch in requests within AWS's limits, each until it is accepted or refused."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from prefect_monitoring.flows.aws import cause
from prefect_monitoring.model.cloudwatch import MAX_AGE_SECONDS, Datum, make_datum, merge, requests
from prefect_monitoring.model.records import Pipeline
from prefect_monitoring.model.sink_status import SinkError
from prefect_monitoring.sinks.aws_errors import reason_of
from prefect_monitoring.sinks.cloudwatch.metrics import PREFECT_UP, PUSHED_METRICS, dimensions_of
from prefect_monitoring.sinks.cloudwatch.select import Item

# After this many refused metrics of one minute, the fault is not in single metrics: the rest is not sent one by one.
MAX_REFUSED_ALONE: Final = 10
CLOCK_MARGIN: Final = 300.0
_UNITS: Final[Mapping[str, str]] = {PREFECT_UP: "None"} | {row.name: row.unit for row in PUSHED_METRICS.values()}


class DeliveryError(Exception):
    """A request was not accepted, and has to be sent again. The message holds neither account nor address."""

    def __init__(self, reason: SinkError, text: str) -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(slots=True)
class Delivery:
    """The remaining requests of the minute that begins at `minute`, and its lost data, by reason and as notes."""

    minute: int
    requests: deque[dict[str, Any]] = field(default_factory=deque)
    lost: Counter[SinkError] = field(default_factory=Counter)
    notes: dict[str, None] = field(default_factory=dict)

    def lose(self, reason: SinkError, data: int, note: str) -> None:
        self.lost[reason] += data
        self.notes[note] = None


def delivery_of(items: Iterable[Item], minute: int, namespace: str, installation: str) -> Delivery:
    """The requests for the items of a minute. Data that CloudWatch would refuse is lost here, and only that."""
    delivery = Delivery(minute)
    data = [datum for item in items for datum in _data_of(item, installation, delivery)]
    delivery.requests.extend(requests(namespace, merge(data)))
    return delivery


def _data_of(item: Item, installation: str, delivery: Delivery) -> Iterator[Datum]:
    name, flow, deployment, *counted = item
    dimensions = dimensions_of(Pipeline(flow, deployment), installation)
    for value, count in counted:
        try:
            datum = make_datum(name, value, _UNITS.get(name, "None"), dimensions, delivery.minute)
        except ValueError as error:
            delivery.lose(SinkError.REFUSED, 1, str(error))
        else:
            yield replace(datum, counts=(float(count),))


def send(client: Any, delivery: Delivery, now: float) -> None:
    """Sends the remaining requests. Raises DeliveryError to be called again; accepted requests are not sent again.

    A refused request is halved until the wrong metric is alone, so that the others are accepted.
    """
    if delivery.minute < now - MAX_AGE_SECONDS + CLOCK_MARGIN:
        data = sum(len(request["MetricData"]) for request in delivery.requests)
        delivery.lose(SinkError.EXPIRED, data, "CloudWatch accepts nothing older than two weeks")
        delivery.requests.clear()
    while delivery.requests:
        request = delivery.requests[0]
        try:
            client.put_metric_data(**request)
        except Exception as error:  # noqa: BLE001 any error of boto3, the network or AWS
            reason = reason_of(error)
            if reason is not SinkError.REFUSED:
                raise DeliveryError(reason, cause(error)) from None
            delivery.requests.popleft()
            _divide(request, delivery, cause(error))
        else:
            delivery.requests.popleft()


def _divide(request: dict[str, Any], delivery: Delivery, why: str) -> None:
    data = request["MetricData"]
    if len(data) == 1 or delivery.lost[SinkError.REFUSED] >= MAX_REFUSED_ALONE:
        delivery.lose(SinkError.REFUSED, len(data), f"CloudWatch refuses {data[0]['MetricName']}: {why}")
        return
    middle = len(data) // 2
    for part in (data[middle:], data[:middle]):
        delivery.requests.appendleft({**request, "MetricData": part})
