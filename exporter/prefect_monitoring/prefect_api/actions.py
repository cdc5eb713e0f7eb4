"""The requests that change Prefect, and the groups in which clients may send them; other clients only read."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from prefect_monitoring.model.actions import ActionResult
from prefect_monitoring.prefect_api.client import PrefectHttp
from prefect_monitoring.prefect_api.errors import ApiError
from prefect_monitoring.prefect_api.pagination import Row, decode_all, instant, iso

_SET_STATE: Final = ("POST", "/flow_runs/{id}/set_state")
_PAUSE: Final = ("POST", "/deployments/{id}/pause_deployment")
_RESUME: Final = ("POST", "/deployments/{id}/resume_deployment")
_UPDATE_POOL: Final = ("PATCH", "/work_pools/{name}")
_EVENTS: Final = ("POST", "/events")

ACT_ON_RUNS: Final = frozenset({_SET_STATE, _PAUSE, _RESUME, _UPDATE_POOL, _EVENTS})

# After these answers it is unknown whether the request was carried out; after other errors, it was not.
_UNCLEAR: Final = frozenset({"timeout", "error", "invalid_json", "500", "502", "503", "504"})
_NOT_NOW: Final = frozenset({"429", "throttled"})
_GONE: Final = "404"
# How Prefect rejects the transition id of a run's current state (PreventDuplicateTransitions).
_REPEATED: Final = "already made this state transition"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a request. SENT: unknown whether carried out; PLANNED: not carried out, and worth another try."""

    result: ActionResult
    reason: str = ""


DONE: Final = Outcome(ActionResult.DONE)


@dataclass(frozen=True, slots=True)
class Transition:
    """One state of a run's history, with the transition id that the client proposed ("" for none)."""

    state_id: str
    type: str
    name: str
    at: float
    transition_id: str


class ActionsApi:
    """Needs a client that was opened for `ACT_ON_RUNS`. Writes never raise ApiError; they return an Outcome."""

    def __init__(self, http: PrefectHttp) -> None:
        self._http = http

    async def history(self, run_id: str) -> tuple[Transition, ...]:
        """Every state that the run was in, oldest first; empty for a deleted run. Raises ApiError."""
        rows = await self._http.request("/flow_run_states/", params={"flow_run_id": run_id})
        return tuple(sorted(decode_all(_transition, rows), key=lambda one: one.at))

    async def retry(self, run_id: str, scheduled_at: float, transition_id: str, message: str) -> Outcome:
        """Sets a failed or crashed run to AwaitingRetry; its worker or its `serve()` starts it at `scheduled_at`."""
        scheduled_time = iso(scheduled_at)
        state = _state("SCHEDULED", "AwaitingRetry", message, transition_id, scheduled_time=scheduled_time)
        return await self._set_state(run_id, state)

    async def skip(self, run_id: str, transition_id: str, message: str) -> Outcome:
        """Ends a run that has not started. By CANCELLING: a worker that is submitting it would run a CANCELLED one."""
        state = _state("CANCELLING", "Cancelling", message, transition_id)
        # For a run without infrastructure, Prefect rejects CANCELLING and sets CANCELLED instead.
        return await self._set_state(run_id, state, instead=frozenset({"CANCELLED"}))

    async def mark_crashed(self, run_id: str, transition_id: str, message: str) -> Outcome:
        """Ends a Running run as Crashed, as its worker does when its process is gone."""
        return await self._set_state(run_id, _state("CRASHED", "Crashed", message, transition_id))

    async def pause(self, deployment_id: str) -> Outcome:
        """Pauses a deployment: its schedules stop, and Prefect deletes the runs that they have scheduled."""
        return await self._write(_PAUSE, {"id": deployment_id})

    async def resume(self, deployment_id: str) -> Outcome:
        return await self._write(_RESUME, {"id": deployment_id})

    async def set_slots(self, pool: str, slots: int) -> Outcome:
        """Sets the concurrency limit of a work pool."""
        return await self._write(_UPDATE_POOL, {"name": pool}, {"concurrency_limit": slots})

    async def emit(self, events: Sequence[Mapping[str, Any]]) -> Outcome:
        """Sends events; Prefect stores each id only once."""
        return await self._write(_EVENTS, {}, list(events))

    async def _set_state(
        self, run_id: str, state: Mapping[str, Any], instead: Collection[str] = frozenset()
    ) -> Outcome:
        """Proposes a state; `instead`: state types that Prefect may set in its place and that are accepted."""
        try:
            answer = await self._http.write(*_SET_STATE, json={"state": state, "force": False}, names={"id": run_id})
            status = str(answer["status"])
            reason = str((answer.get("details") or {}).get("reason") or "Prefect gives no reason")
            set_to = str((answer.get("state") or {}).get("type"))
        except ApiError as error:
            return _outcome_of(error)
        except (TypeError, KeyError, AttributeError):
            return Outcome(ActionResult.SENT, "the API answered something of another shape than Prefect's")
        is_repeat = _REPEATED in reason  # its current state has our transition id: an earlier request was carried out
        is_done = status == "ACCEPT" or (status == "REJECT" and (is_repeat or set_to in instead))
        return DONE if is_done else Outcome(ActionResult.REFUSED, f"{status.lower()}: {reason}")

    async def _write(self, request: tuple[str, str], names: Mapping[str, str], body: object = None) -> Outcome:
        try:
            await self._http.write(*request, json=body, names=names)
        except ApiError as error:
            return _outcome_of(error)
        return DONE


def _state(kind: str, name: str, message: str, transition_id: str, **details: str) -> dict[str, Any]:
    """A state of type `kind` to propose; Prefect sets a state only once per transition id."""
    return {
        "type": kind,
        "name": name,
        "message": message,
        "state_details": {**details, "transition_id": transition_id},
    }


def _outcome_of(error: ApiError) -> Outcome:
    if error.code == _GONE:
        return Outcome(ActionResult.REFUSED, "it does not exist any more")
    if error.code in _NOT_NOW:
        return Outcome(ActionResult.PLANNED, str(error))
    return Outcome(ActionResult.SENT if error.code in _UNCLEAR else ActionResult.FAILED, str(error))


def _transition(row: Row) -> Transition:
    details = row.get("state_details") or {}
    return Transition(
        row["id"], row["type"], row["name"], instant(row["timestamp"]), str(details.get("transition_id") or "")
    )
