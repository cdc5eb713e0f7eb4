"""Creates real objects on a Prefect server, through the API that workers and the UI use."""

import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote
from uuid import uuid4

import httpx

# Prefect's state names that are not their type with a capital letter.
_TYPES = {
    "Late": "SCHEDULED",
    "Resuming": "SCHEDULED",
    "AwaitingRetry": "SCHEDULED",
    "AwaitingConcurrencySlot": "SCHEDULED",
    "Submitting": "PENDING",
    "InfrastructurePending": "PENDING",
    "Retrying": "RUNNING",
    "Suspended": "PAUSED",
    "Cached": "COMPLETED",
    "RolledBack": "COMPLETED",
    "Skipped": "COMPLETED",
    "TimedOut": "FAILED",
}
_WAITS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)


class NotAcceptedError(Exception):
    """The server's orchestration did not accept a proposed state; `result` is its answer."""

    def __init__(self, result: dict[str, Any]) -> None:
        super().__init__(f"{result['status']}: {result['details']}")
        self.result = result


class Seeder:
    def __init__(self, api_url: str, *, auth: str | None = None) -> None:
        """`auth` is "user:password" for a server that asks for it."""
        user, _, password = (auth or "").partition(":")
        self.client = httpx.Client(
            base_url=api_url,
            timeout=100,
            auth=httpx.BasicAuth(user, password) if auth else None,
            trust_env=False,
            # The server closes connections that were idle for 5 s, possibly while the next request is on its way.
            limits=httpx.Limits(keepalive_expiry=2),
        )
        self.lasting: list[str] = []  # paths of objects that slow down all tests while they exist

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.client.close()

    def call(self, method: str, path: str, body: dict[str, Any] | list[Any] | None = None) -> Any:
        """Sends a request; raises on any status other than 2xx.

        Repeats it after a 503: SQLite was locked, and nothing was written. Prefect's own client does the same.
        """
        response = self.client.request(method, path, json=body)
        for wait in _WAITS:
            if response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                break
            time.sleep(wait)
            response = self.client.request(method, path, json=body)
        if not response.is_success:
            raise httpx.HTTPStatusError(
                f"{method} {path}: {response.status_code} {response.text}",
                request=response.request,
                response=response,
            )
        return response.json() if response.content else None

    # --- flows, deployments, pools, limits -------------------------------------------------------------------------

    def flow(self, name: str) -> str:
        return str(self.call("POST", "/flows/", {"name": name})["id"])

    def deployment(
        self,
        flow_id: str,
        name: str,
        *,
        work_pool: str | None = None,
        work_queue: str | None = None,
        tags: Sequence[str] = (),
        concurrency_limit: int | None = None,
        cron: str | None = None,
        interval: float | None = None,
        paused: bool = False,
    ) -> str:
        """A deployment; with `cron`, or `interval` in seconds, the server's scheduler creates its runs."""
        schedules: list[dict[str, Any]] = []
        if cron:
            schedules.append({"schedule": {"cron": cron, "timezone": "UTC"}, "active": True})
        if interval:
            schedules.append({"schedule": {"interval": interval, "timezone": "UTC"}, "active": True})
        body = {
            "flow_id": flow_id,
            "name": name,
            "work_pool_name": work_pool,
            "work_queue_name": work_queue,
            "tags": list(tags),
            "concurrency_limit": concurrency_limit,
            "schedules": schedules,
            "enforce_parameter_schema": False,  # it has none, and 3.4 would refuse to create runs
            "paused": paused,
        }
        deployment_id = str(self.call("POST", "/deployments/", body)["id"])
        if schedules:
            self.lasting.append(f"/deployments/{deployment_id}")
        return deployment_id

    def clear_away(self, *, but: int = 0) -> None:
        """Deletes the deployments with schedules, the pools and the automations, except the first `but` of them.

        Schedules of seconds flood a server with late runs, which it marks repeatedly. It evaluates each event
        for every automation, and every inventory reads the workers of each pool.
        """
        for path in reversed(self.lasting[but:]):
            with suppress(httpx.HTTPStatusError):  # its test has deleted it
                self.call("DELETE", path)
        del self.lasting[but:]

    def work_pool(self, name: str, *, type: str = "process", concurrency_limit: int | None = None) -> str:  # noqa: A002
        body = {"name": name, "type": type, "concurrency_limit": concurrency_limit}
        pool_id = str(self.call("POST", "/work_pools/", body)["id"])
        self.lasting.append(f"/work_pools/{quote(name, safe='')}")
        return pool_id

    def work_queue(self, work_pool: str, name: str, *, concurrency_limit: int | None = None) -> str:
        body = {"name": name, "concurrency_limit": concurrency_limit}
        return str(self.call("POST", f"/work_pools/{quote(work_pool, safe='')}/queues", body)["id"])

    def pause(self, *, work_pool: str = "", work_queue: str = "", deployment_id: str = "", paused: bool = True) -> None:
        """Pauses the deployment, the queue of the pool, or the pool."""
        if deployment_id:
            self.call("PATCH", f"/deployments/{deployment_id}", {"paused": paused})
            return
        queue = f"/queues/{quote(work_queue, safe='')}" if work_queue else ""
        self.call("PATCH", f"/work_pools/{quote(work_pool, safe='')}{queue}", {"is_paused": paused})

    def heartbeat(self, work_pool: str, worker: str, *, every: int | None = None) -> None:
        """A heartbeat of a worker that promises one every `every` seconds: after three times as long, it is offline."""
        body = {"name": worker, "heartbeat_interval_seconds": every}
        self.call("POST", f"/work_pools/{quote(work_pool, safe='')}/workers/heartbeat", body)

    def poll_for_work(self, work_pool: str) -> None:
        """Polls as workers do, which marks the pool's queues and the deployments in them as ready."""
        self.call("POST", f"/work_pools/{quote(work_pool, safe='')}/get_scheduled_flow_runs", {})

    def concurrency_limit(self, name: str, slots: int, *, active: bool = True) -> str:
        body = {"name": name, "limit": slots, "active": active}
        return str(self.call("POST", "/v2/concurrency_limits/", body)["id"])

    def take_slots(self, limit: str, slots: int) -> None:
        """Takes slots of the limit of that name without releasing them."""
        self.call("POST", "/v2/concurrency_limits/increment", {"names": [limit], "slots": slots, "mode": "concurrency"})

    def automation(self, name: str, *, enabled: bool = True) -> str:
        """An automation that waits for an event that never occurs."""
        trigger = {"type": "event", "posture": "Reactive", "expect": ["never"], "threshold": 1, "within": 0}
        body = {"name": name, "enabled": enabled, "trigger": trigger, "actions": [{"type": "do-nothing"}]}
        automation_id = str(self.call("POST", "/automations/", body)["id"])
        self.lasting.append(f"/automations/{automation_id}")
        return automation_id

    def scheduled_starts(self, deployment_id: str) -> list[float]:
        """When the deployment's Scheduled runs are expected to start, the next first; epoch seconds."""
        criteria = {"deployment_id": {"any_": [deployment_id]}, "state": {"name": {"any_": ["Scheduled"]}}}
        rows = self.call("POST", "/flow_runs/filter", {"flow_runs": criteria})
        return sorted(datetime.fromisoformat(row["expected_start_time"]).timestamp() for row in rows)

    def schedule(self, deployment_id: str) -> None:
        """Creates the deployment's runs at once, as the server's scheduler does some seconds later."""
        self.call("POST", f"/deployments/{deployment_id}/schedule", {})

    def delete_flow(self, flow_id: str) -> None:
        """Also deletes its deployments and all of its runs."""
        self.call("DELETE", f"/flows/{flow_id}")

    def delete_deployment(self, deployment_id: str) -> None:
        """Also deletes its scheduled runs; finished ones keep the id of the deleted deployment."""
        self.call("DELETE", f"/deployments/{deployment_id}")

    # --- runs ------------------------------------------------------------------------------------------------------

    def run(
        self,
        flow_id: str,
        *,
        deployment_id: str | None = None,
        state: str = "Pending",
        at: datetime | None = None,
        tags: Sequence[str] = (),
        name: str | None = None,
        parent: str | None = None,
        work_pool: str | None = None,
    ) -> str:
        """A new run in the given state (by Prefect's name for it); `at` is when a Scheduled run should start.

        With a deployment it is created as by `prefect deployment run`. `parent` is the id of the run that calls it as
        a subflow. `work_pool` is for a run without a deployment; a deployment brings its own.
        """
        body: dict[str, Any] = {"state": _state(type_of(state), state, at=at), "tags": list(tags)}
        if name:
            body["name"] = name
        if parent:
            body["parent_task_run_id"] = self._placeholder(parent)
        if deployment_id:
            return str(self.call("POST", f"/deployments/{deployment_id}/create_flow_run", body)["id"])
        body |= {"flow_id": flow_id, "work_pool_name": work_pool}
        return str(self.call("POST", "/flow_runs/", body)["id"])

    def propose(
        self,
        run_id: str,
        type: str,  # noqa: A002
        name: str | None = None,
        message: str | None = None,
        *,
        scheduled_time: datetime | None = None,
        force: bool = False,
    ) -> dict[str, Any]:
        """Ask for a state; returns the whole answer: status (ACCEPT, REJECT, WAIT or ABORT), state and details."""
        body = {"state": _state(type, name, message, at=scheduled_time), "force": force}
        result: dict[str, Any] = self.call("POST", f"/flow_runs/{run_id}/set_state", body)
        return result

    def set_state(
        self,
        run_id: str,
        type: str,  # noqa: A002
        name: str | None = None,
        message: str | None = None,
        *,
        scheduled_time: datetime | None = None,
        force: bool = False,
    ) -> dict[str, Any]:
        """Set a state (`type` in capitals) and return it as the server stored it; NotAcceptedError if it did not."""
        result = self.propose(run_id, type, name, message, scheduled_time=scheduled_time, force=force)
        if result["status"] != "ACCEPT":
            raise NotAcceptedError(result)
        state: dict[str, Any] = result["state"]
        return state

    def running(self, run_id: str) -> dict[str, Any]:
        """Drive a run through Pending into Running, as a worker and its process would."""
        now = self.read(run_id)["state_type"]
        if now not in ("PENDING", "RUNNING"):
            self.set_state(run_id, "PENDING")
        if now == "RUNNING":
            state: dict[str, Any] = self.read(run_id)["state"]
            return state
        return self.set_state(run_id, "RUNNING")

    def completed(self, run_id: str) -> dict[str, Any]:
        self.running(run_id)
        return self.set_state(run_id, "COMPLETED", message="All states completed.")

    def failed(self, run_id: str, message: str = "Flow run encountered an exception: ValueError: no") -> dict[str, Any]:
        self.running(run_id)
        return self.set_state(run_id, "FAILED", message=message)

    def timed_out(self, run_id: str) -> dict[str, Any]:
        self.running(run_id)
        return self.set_state(run_id, "FAILED", "TimedOut", "Flow run exceeded timeout of 1.0 second(s)")

    def crashed(
        self,
        run_id: str,
        message: str = "Flow run process exited with non-zero status code 1.",
        *,
        started: bool = True,
    ) -> dict[str, Any]:
        """`started=False`: its infrastructure died before it ran."""
        if started:
            self.running(run_id)
        return self.set_state(run_id, "CRASHED", message=message)

    def cancelled(self, run_id: str, *, started: bool = True) -> dict[str, Any]:
        if started:
            self.running(run_id)
            self.set_state(run_id, "CANCELLING")
        return self.set_state(run_id, "CANCELLED")

    def retry_from_ui(
        self, run_id: str, *, scheduled_time: datetime | None = None, force: bool = False
    ) -> dict[str, Any]:
        """The Retry button. The old UI proposes (for runs of deployments only), the new one forces."""
        at = scheduled_time or datetime.now(UTC)
        return self.set_state(run_id, "SCHEDULED", "AwaitingRetry", "Retry from the UI", scheduled_time=at, force=force)

    def mark(self, run_id: str, type: str, message: str = "State changed in the UI") -> dict[str, Any]:  # noqa: A002
        """Set the state of a run by hand; both dashboards force it."""
        return self.set_state(run_id, type, message=message, force=True)

    def task_run(
        self,
        flow_run_id: str | None,
        task: str,
        *,
        state: str = "Completed",
        task_run_id: str | None = None,
    ) -> str:
        """A task run in the given state, entered now, of the flow run's present attempt."""
        key, dynamic_key = f"{task}-0123abcd", str(uuid4())
        body = {
            "id": task_run_id or str(uuid4()),
            "flow_run_id": flow_run_id,
            "name": f"{task}-{dynamic_key[:3]}",
            "task_key": key,
            "dynamic_key": dynamic_key,
            "state": _state("PENDING", "Pending"),
        }
        run_id = str(self.call("POST", "/task_runs/", body)["id"])
        if state != "Pending":
            for name in ("Running", state) if state != "Running" else ("Running",):
                proposal = {"state": _state(type_of(name), name), "force": False}
                self.call("POST", f"/task_runs/{run_id}/set_state", proposal)
        return run_id

    def delete_run(self, run_id: str) -> None:
        self.call("DELETE", f"/flow_runs/{run_id}")

    def read(self, run_id: str) -> dict[str, Any]:
        run: dict[str, Any] = self.call("GET", f"/flow_runs/{run_id}")
        return run

    def history(self, run_id: str) -> list[dict[str, Any]]:
        """All states of a run, the oldest first."""
        states: list[dict[str, Any]] = self.call("GET", f"/flow_run_states/?flow_run_id={run_id}")
        return sorted(states, key=lambda state: str(state["timestamp"]))

    def _placeholder(self, parent: str) -> str:
        """The task run by which a subflow shows up in the run that calls it."""
        body = {"flow_run_id": parent, "name": "subflow-0", "task_key": "subflow", "dynamic_key": str(uuid4())}
        return str(self.call("POST", "/task_runs/", body)["id"])


def type_of(state_name: str) -> str:
    return _TYPES.get(state_name, state_name.upper())


def _state(type: str, name: str | None, message: str | None = None, *, at: datetime | None = None) -> dict[str, Any]:  # noqa: A002
    details = {"scheduled_time": at.isoformat()} if at else {}
    return {"type": type, "name": name, "message": message, "state_details": details}
