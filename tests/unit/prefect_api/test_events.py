"""Events: requests, pages and the meaning of responses."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from prefect_monitoring.model.records import FailedAction, Materialization
from prefect_monitoring.prefect_api.client import PrefectHttp
from prefect_monitoring.prefect_api.errors import ApiError
from prefect_monitoring.prefect_api.events import EventsApi
from unit.loopback import Answer, Asked, Loopback


@pytest.fixture
def api(http: PrefectHttp) -> EventsApi:
    return EventsApi(http)


E1, E2 = (str(UUID(int=number)) for number in (1, 2))


def _event(number: int, reason: str = "Notification failed", **resource: str) -> dict[str, Any]:
    return {
        "id": str(UUID(int=number)),
        "event": "prefect.automation.action.failed",
        "occurred": f"1970-01-01T00:00:0{number}Z",
        "resource": {"prefect.resource.id": "prefect.automation.1", "prefect.resource.name": "to Slack", **resource},
        "payload": {"action_type": "send-notification", "reason": reason},
    }


async def test_events_of_both_names_are_requested_and_read_in_order(api: EventsApi, site: Loopback) -> None:
    site.answer = lambda _: Answer(body={"events": [_event(1), _event(2)], "total": 2, "next_page": None})

    page = await api.failed_actions(0.0, 60.0)

    assert page.actions == (FailedAction(E1, "to Slack", 1.0), FailedAction(E2, "to Slack", 2.0))
    assert (page.last, page.complete) == (2.0, True)
    assert site.asked[0].body == {
        "filter": {
            "occurred": {"since": "1970-01-01T00:00:00+00:00", "until": "1970-01-01T00:01:00+00:00"},
            "event": {"name": ["prefect.automation.action.failed", "prefect-cloud.automation.action.failed"]},
            "order": "ASC",
        },
        "limit": 50,
    }


async def test_at_most_two_pages_are_read_from_the_configured_host(api: EventsApi, site: Loopback) -> None:
    def answer(asked: Asked) -> Answer:
        number = len(site.asked)
        address = f"http://internal:4200/api/events/filter/next?page-token=t%3D{number}"
        return Answer(body={"events": [_event(number)], "total": 9, "next_page": address})

    site.answer = answer
    page = await api.failed_actions(0.0, 60.0)

    assert [action.id for action in page.actions] == [E1, E2]
    assert not page.complete
    assert [(request.method, request.path) for request in site.asked] == [
        ("POST", "/api/events/filter"),
        ("GET", "/api/events/filter/next?page-token=t%3D1"),
    ]


async def test_cancelled_run_without_infrastructure_is_no_failure(api: EventsApi, site: Loopback) -> None:
    cancelled = _event(3, "Failed to set state: Scheduled flow run has no infrastructure to terminate.")
    site.answer = lambda _: Answer(body={"events": [_event(1), cancelled], "total": 2, "next_page": None})

    page = await api.failed_actions(0.0, 60.0)

    assert [action.id for action in page.actions] == [E1]
    assert page.last == 3.0, "it still counts as read"


async def test_automation_without_a_name_is_counted_by_its_id(api: EventsApi, site: Loopback) -> None:
    event = _event(1, **{"prefect.resource.name": ""})
    site.answer = lambda _: Answer(body={"events": [event], "total": 1, "next_page": None})

    assert (await api.failed_actions(0.0, 60.0)).actions[0].automation == "prefect.automation.1"


@pytest.mark.parametrize(
    "body",
    [[], {}, {"events": 1}, {"events": [{}], "next_page": None}, {"events": [], "next_page": "http://x/?other=1"}],
)
async def test_response_of_another_shape_is_an_error(api: EventsApi, site: Loopback, body: object) -> None:
    site.answer = lambda _: Answer(body=body)

    with pytest.raises(ApiError, match="of another shape"):
        await api.failed_actions(0.0, 60.0)


async def test_materializations_have_their_result_and_the_numbers_of_their_metadata(
    api: EventsApi, site: Loopback
) -> None:
    def event(number: int, result: str, payload: object) -> dict[str, Any]:
        name = f"prefect.asset.materialization.{result}"
        resource = {"prefect.resource.id": "s3://lake/orders", "prefect.resource.name": "Orders"}
        return {**_event(number), "event": name, "resource": resource, "payload": payload}

    metadata = {"rows": 5, "ratio": 0.5, "owner": "data", "ok": True, "nothing": None, "list": [1]}
    rows = [event(1, "succeeded", metadata), event(2, "failed", {"rows": 3}), event(3, "succeeded", None)]
    site.answer = lambda _: Answer(body={"events": rows, "total": 3, "next_page": None})

    page = await api.materializations(0.0, 60.0)

    assert page.materializations == (
        Materialization(E1, "s3://lake/orders", 1.0, "succeeded", (("rows", 5.0), ("ratio", 0.5))),
        Materialization(E2, "s3://lake/orders", 2.0, "failed"),
        Materialization(str(UUID(int=3)), "s3://lake/orders", 3.0, "succeeded"),
    )
    assert (page.last, page.complete) == (3.0, True)
    assert site.asked[0].body["filter"]["event"] == {
        "name": ["prefect.asset.materialization.succeeded", "prefect.asset.materialization.failed"]
    }


@pytest.mark.parametrize("events", [[], [_event(1)]])
async def test_sent_event_is_found_by_its_id(api: EventsApi, site: Loopback, events: list[dict[str, Any]]) -> None:
    site.answer = lambda _: Answer(body={"events": events, "next_page": None})

    assert await api.exists(E1, 60.0) is bool(events)
    assert site.asked[-1].body == {
        "filter": {"occurred": {"since": "1970-01-01T00:01:00+00:00"}, "id": {"id": [E1]}},
        "limit": 1,
    }
