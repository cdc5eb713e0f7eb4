"""The requests that change Prefect: their content, the meaning of responses, and that nothing else can send them."""

from __future__ import annotations

import ast
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

import prefect_monitoring
from prefect_monitoring.model.actions import ActionResult
from prefect_monitoring.prefect_api.actions import ACT_ON_RUNS, DONE, ActionsApi, Outcome
from prefect_monitoring.prefect_api.client import PrefectHttp, Traffic, open_http
from prefect_monitoring.prefect_api.errors import ApiError
from support.reads import READS
from unit.loopback import Answer, Loopback

PACKAGE = Path(prefect_monitoring.__file__).parent
ACCEPTED = {"status": "ACCEPT", "details": {}, "state": {}}
RUN, TRANSITION = "11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222"
REQUESTS: dict[str, Callable[[ActionsApi], Awaitable[Outcome]]] = {
    "retry": lambda api: api.retry(RUN, 0.0, TRANSITION, "m"),
    "skip": lambda api: api.skip(RUN, TRANSITION, "m"),
    "mark_crashed": lambda api: api.mark_crashed(RUN, TRANSITION, "m"),
    "pause": lambda api: api.pause(RUN),
    "resume": lambda api: api.resume(RUN),
    "set_slots": lambda api: api.set_slots("a/b", 7),
    "emit": lambda api: api.emit([{"id": TRANSITION}]),
}


@pytest.fixture
async def api(site: Loopback) -> AsyncIterator[ActionsApi]:
    with temporary_settings({PREFECT_API_URL: site.url}):
        async with open_http(Traffic(), 1000, ACT_ON_RUNS) as http:
            yield ActionsApi(http)


async def test_request_describes_the_change(api: ActionsApi, site: Loopback) -> None:
    site.answer = lambda asked: Answer(201, ACCEPTED) if "set_state" in asked.path else Answer(204, b"")

    outcomes = [await request(api) for request in REQUESTS.values()]

    assert outcomes == [DONE] * len(REQUESTS)
    retry, skip, mark, pause, resume, slots, event = site.asked
    assert retry.path.endswith(f"/flow_runs/{RUN}/set_state")
    assert retry.body == {
        "state": {
            "type": "SCHEDULED",
            "name": "AwaitingRetry",
            "message": "m",
            "state_details": {"scheduled_time": "1970-01-01T00:00:00+00:00", "transition_id": TRANSITION},
        },
        "force": False,
    }
    assert (skip.body["state"]["type"], skip.body["state"]["state_details"]) == (
        "CANCELLING",
        {"transition_id": TRANSITION},
    )
    assert mark.body == {
        "state": {"type": "CRASHED", "name": "Crashed", "message": "m", "state_details": {"transition_id": TRANSITION}},
        "force": False,
    }
    assert pause.path.endswith(f"/deployments/{RUN}/pause_deployment")
    assert resume.path.endswith(f"/deployments/{RUN}/resume_deployment")
    assert (slots.method, slots.path.rpartition("/")[2], slots.body) == ("PATCH", "a%2Fb", {"concurrency_limit": 7})
    assert (event.method, event.path.rpartition("/")[2], event.body) == ("POST", "events", [{"id": TRANSITION}])


@pytest.mark.parametrize("request_of", REQUESTS.values(), ids=REQUESTS)
@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (Answer(404), ActionResult.REFUSED),
        (Answer(401), ActionResult.FAILED),
        (Answer(403), ActionResult.FAILED),
        (Answer(422), ActionResult.FAILED),
        (Answer(500), ActionResult.SENT),
        (Answer(503), ActionResult.SENT),
        (Answer(200, b"<html>"), ActionResult.SENT),
        (Answer(429, headers={"Retry-After": "3600"}), ActionResult.PLANNED),
    ],
)
@pytest.mark.slow
async def test_error_says_whether_the_request_may_have_been_carried_out(
    api: ActionsApi,
    site: Loopback,
    request_of: Callable[[ActionsApi], Awaitable[Outcome]],
    answer: Answer,
    result: ActionResult,
) -> None:
    site.answer = lambda _: answer

    outcome = await request_of(api)

    assert outcome.result is result
    assert outcome.reason
    assert len(site.asked) == 1


@pytest.mark.parametrize("status", ["REJECT", "ABORT", "WAIT"])
async def test_rejected_transition_is_refused_with_its_reason(api: ActionsApi, site: Loopback, status: str) -> None:
    site.answer = lambda _: Answer(200, {"status": status, "details": {"reason": "no deployment"}})

    assert await REQUESTS["retry"](api) == Outcome(ActionResult.REFUSED, f"{status.lower()}: no deployment")


async def test_run_without_infrastructure_cancelled_at_once_is_skipped(api: ActionsApi, site: Loopback) -> None:
    site.answer = lambda _: Answer(200, {"status": "REJECT", "details": {}, "state": {"type": "CANCELLED"}})

    assert await REQUESTS["skip"](api) == DONE
    assert (await REQUESTS["retry"](api)).result is ActionResult.REFUSED


async def test_transition_made_before_is_done(api: ActionsApi, site: Loopback) -> None:
    details = {"reason": "This run has already made this state transition."}
    site.answer = lambda _: Answer(200, {"status": "REJECT", "details": details, "state": None})

    assert await REQUESTS["retry"](api) == DONE


@pytest.mark.parametrize("body", [[], {}, {"status": "ACCEPTED?", "details": 1}, "text"])
async def test_response_of_another_shape_is_not_a_success(api: ActionsApi, site: Loopback, body: object) -> None:
    site.answer = lambda _: Answer(200, body)

    assert (await REQUESTS["retry"](api)).result is not ActionResult.DONE


async def test_history_has_the_transition_ids_of_its_states(api: ActionsApi, site: Loopback) -> None:
    def state(number: int, **details: object) -> dict[str, object]:
        at = f"2026-03-02T12:00:0{number}Z"
        return {"id": f"{number}", "type": "FAILED", "name": "Failed", "timestamp": at, "state_details": details}

    site.answer = lambda _: Answer(200, [state(2, transition_id=TRANSITION), state(1)])

    history = await api.history(RUN)

    assert [(state.state_id, state.transition_id) for state in history] == [("1", ""), ("2", TRANSITION)]
    site.answer = lambda _: Answer(500)
    with pytest.raises(ApiError):
        await api.history(RUN)


async def test_read_only_client_sends_no_write(http: PrefectHttp, site: Loopback) -> None:
    for method, endpoint in ACT_ON_RUNS:
        with pytest.raises(ValueError, match="is not among the writes"):
            await http.write(method, endpoint, names={"id": RUN, "name": "p"})
    assert site.asked == []


async def test_acting_client_sends_only_its_writes(api: ActionsApi, site: Loopback) -> None:
    for method, endpoint in [("DELETE", "/flow_runs/{id}"), ("PATCH", "/deployments/{id}"), ("POST", "/automations/")]:
        with pytest.raises(ValueError, match="is not among the writes"):
            await api._http.write(method, endpoint, names={"id": RUN})
    assert site.asked == []


def test_read_endpoints_are_not_writes() -> None:
    assert not READS & {endpoint for _, endpoint in ACT_ON_RUNS}


def _calls(name: str) -> set[str]:
    """The modules that call a function or method of this name."""
    modules = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = getattr(node, "func", None) if isinstance(node, ast.Call) else None
            if getattr(called, "attr", None) == name or getattr(called, "id", None) == name:
                modules.add(path.relative_to(PACKAGE).as_posix())
    return modules


@pytest.mark.slow
def test_prefects_client_is_called_in_one_module_only() -> None:
    flows_of_users = {module for module in _calls("get_client") if module.startswith("flows/")}
    assert _calls("get_client") - flows_of_users == {"prefect_api/client.py"}
    http_writes = {module for module in _calls("write") if module.startswith("prefect_api/")}
    assert http_writes <= {"prefect_api/actions.py", "prefect_api/automations.py"}


def test_only_acting_commands_open_a_writing_client() -> None:
    with_writes = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "open_http":
                extra = len(node.args) > 2 or any(keyword.arg == "writes" for keyword in node.keywords)
                with_writes |= {path.relative_to(PACKAGE).as_posix()} if extra else set()
    assert with_writes <= {"automations/running.py", "commands/automations.py"}
