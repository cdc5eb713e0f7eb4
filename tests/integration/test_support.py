"""Tests of the test tools against real servers."""

import sys
import threading
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from support import exposition
from support.bulk import bulk_finished_runs, bulk_logs, bulk_task_runs, rename_flow_in_database
from support.ports import free_port
from support.prefect_server import PrefectServer, env_for
from support.processes import busyness, start, wait_until, wait_until_async
from support.prometheus import promtool_check_metrics, start_prometheus
from support.proxy import Fault, FaultProxy, Seen
from support.seeder import NotAcceptedError, Seeder
from support.truth import truth
from support.versions import DATES_ENDS_BEFORE_THE_START

REAL_FLOW = """
import sys
from prefect import flow, task

@task
def plain():
    pass

@flow(name=sys.argv[1])
def parent():
    plain()

parent()
"""


def names(seeder: Seeder, run_id: str) -> list[str]:
    return [state["name"] for state in seeder.history(run_id)]


# --- the seeder: histories as Prefect records them -----------------------------------------------------------------


@pytest.mark.parametrize(("force", "retry_type"), [(False, "reschedule"), (True, None)])
def test_retry_from_the_ui_is_the_same_run_with_a_second_outcome(
    seeder: Seeder, unique: str, force: bool, retry_type: str | None
) -> None:
    flow = seeder.flow(f"{unique}flow")
    run = seeder.run(flow, deployment_id=seeder.deployment(flow, "d"), state="Scheduled")
    seeder.failed(run)
    first = seeder.read(run)

    seeder.retry_from_ui(run, force=force)

    waiting = seeder.read(run)
    assert (waiting["state_name"], waiting["end_time"], waiting["run_count"]) == ("AwaitingRetry", None, 1)
    assert waiting["empirical_policy"]["retry_type"] == retry_type

    seeder.completed(run)

    ended = seeder.read(run)
    assert ended["run_count"] == 2
    assert ended["start_time"] == first["start_time"]
    assert ended["expected_start_time"] == first["expected_start_time"]
    assert ended["end_time"] > first["end_time"]
    expected = ["Scheduled", "Pending", "Running", "Failed", "AwaitingRetry", "Pending", "Running", "Completed"]
    assert names(seeder, run) == expected


def test_run_without_a_deployment_is_retried_only_by_force(seeder: Seeder, unique: str) -> None:
    run = seeder.run(seeder.flow(f"{unique}flow"))
    seeder.failed(run)
    with pytest.raises(NotAcceptedError, match=r"ABORT.*without an associated deployment"):
        seeder.retry_from_ui(run)
    seeder.retry_from_ui(run, force=True)
    assert seeder.read(run)["state_name"] == "AwaitingRetry"


def test_state_set_by_hand_keeps_the_end_time(seeder: Seeder, unique: str) -> None:
    run = seeder.run(seeder.flow(f"{unique}flow"))
    seeder.failed(run)
    before = seeder.read(run)

    seeder.mark(run, "COMPLETED")

    after = seeder.read(run)
    assert after["state_name"] == "Completed"
    assert after["end_time"] == before["end_time"]
    assert after["state_id"] != before["state_id"]
    assert after["state"]["timestamp"] > before["state"]["timestamp"]
    assert after["run_count"] == before["run_count"] == 1


def test_crash_before_the_start_has_an_end_but_no_attempt(seeder: Seeder, unique: str) -> None:
    run = seeder.run(seeder.flow(f"{unique}flow"))
    seeder.crashed(run, started=False)
    ended = seeder.read(run)
    assert (ended["state_name"], ended["run_count"]) == ("Crashed", 0)
    assert ended["start_time"] in (None, ended["end_time"])  # depends on the version of Prefect
    assert (ended["end_time"] is not None) == DATES_ENDS_BEFORE_THE_START


def test_every_other_state_of_the_seeder_is_stored(seeder: Seeder, unique: str) -> None:
    flow = seeder.flow(f"{unique}flow")
    seeder.work_pool(f"{unique}pool", concurrency_limit=3)
    seeder.heartbeat(f"{unique}pool", "worker")
    deployment = seeder.deployment(flow, "d", work_pool=f"{unique}pool", tags=["a"], concurrency_limit=1)

    running = seeder.run(flow, deployment_id=deployment, state="Scheduled", tags=["b"], name="one")
    seeder.running(running)
    row = seeder.read(running)
    assert (row["name"], sorted(row["tags"]), row["work_pool_name"]) == ("one", ["a", "b"], f"{unique}pool")

    blocked = seeder.run(flow, deployment_id=deployment, state="Scheduled")
    assert seeder.propose(blocked, "PENDING")["state"]["name"] == "AwaitingConcurrencySlot"

    subflow = seeder.run(flow, parent=running)
    assert seeder.read(subflow)["parent_task_run_id"]
    seeder.timed_out(subflow)
    assert seeder.read(subflow)["state_name"] == "TimedOut"
    seeder.cancelled(running)
    assert names(seeder, running)[-2:] == ["Cancelling", "Cancelled"]


def test_server_marks_overdue_runs_late_and_schedules_new_ones(seeder: Seeder, unique: str) -> None:
    flow = seeder.flow(f"{unique}flow")
    overdue = datetime.now(UTC) - timedelta(seconds=30)
    run = seeder.run(flow, deployment_id=seeder.deployment(flow, "d"), state="Scheduled", at=overdue)
    seeder.deployment(flow, "hourly", interval=3600)

    wait_until(lambda: seeder.read(run)["state_name"] == "Late", 60, "a late run")

    scheduled = {"flows": {"id": {"any_": [flow]}}, "flow_runs": {"state": {"name": {"any_": ["Scheduled"]}}}}
    wait_until(lambda: seeder.call("POST", "/flow_runs/count", scheduled), 60, "runs of the schedule")


def test_deleting_a_deployment_keeps_its_finished_runs_and_deleting_a_flow_keeps_none(
    seeder: Seeder, unique: str
) -> None:
    flow = seeder.flow(f"{unique}flow")
    deployment = seeder.deployment(flow, "d")
    finished = seeder.run(flow, deployment_id=deployment)
    seeder.completed(finished)

    seeder.delete_deployment(deployment)
    assert seeder.read(finished)["deployment_id"] == deployment

    seeder.delete_flow(flow)
    with pytest.raises(httpx.HTTPStatusError, match="404"):
        seeder.read(finished)


# --- bulk and truth ------------------------------------------------------------------------------------------------


def test_bulk_runs_look_like_real_ones(server: PrefectServer, seeder: Seeder, unique: str) -> None:
    flow = seeder.flow(f"{unique}flow")
    deployment = seeder.deployment(flow, "d")
    real = seeder.run(flow, deployment_id=deployment)
    seeder.completed(real)
    end = datetime.now(UTC) - timedelta(days=30)

    ids = bulk_finished_runs(server, flow, [end] * 2000, deployment_id=deployment, duration=timedelta(seconds=90))
    made, lived = seeder.read(ids[0]), seeder.read(real)
    varying = {"id", "name", "created", "updated", "state", "state_id", "start_time", "end_time", "expected_start_time"}
    varying |= {"total_run_time", "estimated_run_time", "estimated_start_time_delta"}
    assert {key: made[key] for key in made.keys() - varying} == {key: lived[key] for key in lived.keys() - varying}
    assert made["total_run_time"] == 90
    assert datetime.fromisoformat(made["end_time"]) == end
    assert datetime.fromisoformat(made["start_time"]) == end - timedelta(seconds=90)
    assert made["state"]["id"] == made["state_id"]
    assert names(seeder, ids[0]) == ["Pending", "Running", "Completed"]

    same = {"flow_runs": {"end_time": {"after_": end.isoformat(), "before_": end.isoformat()}}}
    assert seeder.call("POST", "/flow_runs/count", same) == 2000


def test_bulk_runs_that_never_ran_look_like_real_ones(server: PrefectServer, seeder: Seeder, unique: str) -> None:
    flow = seeder.flow(f"{unique}flow")
    [made] = bulk_finished_runs(server, flow, [datetime.now(UTC)], state="Crashed", started=False, message="gone")
    row = seeder.read(made)
    assert (row["run_count"], row["total_run_time"], row["state"]["message"]) == (0, 0, "gone")
    assert row["start_time"] == row["end_time"]
    assert names(seeder, made) == ["Pending", "Crashed"]


def test_truth_counts_every_entry_into_a_terminal_state(server: PrefectServer, seeder: Seeder, unique: str) -> None:
    flow, other = seeder.flow(f"{unique}flow"), seeder.flow(f"{unique}other")
    kept, gone = seeder.deployment(flow, "kept"), seeder.deployment(flow, "gone")
    for end in ("failed", "timed_out", "crashed", "cancelled"):
        getattr(seeder, end)(seeder.run(flow, deployment_id=kept))
    retried = seeder.run(flow, deployment_id=kept)
    seeder.failed(retried)
    seeder.retry_from_ui(retried)
    seeder.completed(retried)
    seeder.completed(seeder.run(flow, deployment_id=gone))
    seeder.delete_deployment(gone)
    seeder.running(seeder.run(other))
    odd = seeder.run(other)
    seeder.running(odd)
    seeder.set_state(odd, "FAILED", "Very odd")
    bulk_finished_runs(server, other, [datetime.now(UTC)] * 401)  # three pages

    name = f"{unique}flow"
    expected = Counter(
        {
            (name, "kept", "failed"): 2,
            (name, "kept", "timed_out"): 1,
            (name, "kept", "crashed"): 1,
            (name, "kept", "cancelled"): 1,
            (name, "kept", "completed"): 1,
            (name, "(deleted)", "completed"): 1,
            (f"{unique}other", "", "failed"): 1,
            (f"{unique}other", "", "completed"): 401,
        }
    )
    assert truth(server.url, flow_prefix=unique) == expected
    known = truth(server.url, flow_prefix=name, deployments={gone: "gone"})
    assert known[name, "gone", "completed"] == 1


def test_bulk_flow_runs_come_back_from_the_api(server: PrefectServer, unique: str) -> None:
    end = datetime.now(UTC)
    with Seeder(server.url) as api:
        flow = api.flow(f"{unique}flow")
        [made] = bulk_finished_runs(server, flow, [end], state="TimedOut", message="slow", tags=["a"])
        row = api.read(made)
        assert (row["state_type"], row["state_name"], row["state"]["message"]) == ("FAILED", "TimedOut", "slow")
        assert (row["tags"], row["run_count"], row["total_run_time"]) == (["a"], 1, 1)
        assert datetime.fromisoformat(row["end_time"]) == end
        assert names(api, made) == ["Pending", "Running", "TimedOut"]
        rename_flow_in_database(server, flow, f"{unique}new")
        assert api.call("GET", f"/flows/{flow}")["name"] == f"{unique}new"


def test_bulk_task_runs_come_back_from_the_api(server: PrefectServer, unique: str) -> None:
    end = datetime.now(UTC)
    with Seeder(server.url) as api:
        parents = bulk_finished_runs(server, api.flow(f"{unique}flow"), [end] * 300)
        mine = {"task_runs": {"flow_run_id": {"any_": parents[:1]}}}
        bulk_task_runs(server, "load", [(parent, end) for parent in parents])
        bulk_task_runs(server, "load", [(parents[0], end)], state="Cached")
        slow = timedelta(seconds=6)
        [failed] = bulk_task_runs(
            server, "send", [(parents[0], end)], state="Failed", duration=slow, attempts=3, message="no", tags=["a"]
        )

        criteria = {"flow_runs": {"id": {"any_": parents}}, "task_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}}
        assert api.call("POST", "/task_runs/count", criteria) == 301
        rows = api.call("POST", "/task_runs/filter", {**mine, "sort": "NAME_DESC"})
        assert [row["state_name"] for row in rows][:1] == ["Failed"]
        assert sorted(row["state_name"] for row in rows) == ["Cached", "Completed", "Failed"]
        of_load = [row for row in rows if row["task_key"].startswith("load-")]
        assert {row["name"] for row in of_load} == {f"load-{row['dynamic_key'][:3]}" for row in of_load}
        assert len({row["task_key"] for row in of_load}) == 1

        row = api.call("GET", f"/task_runs/{failed}")
        assert (row["run_count"], row["flow_run_run_count"], row["total_run_time"], row["tags"]) == (3, 1, 6, ["a"])
        assert datetime.fromisoformat(row["end_time"]) == end
        assert end - datetime.fromisoformat(row["start_time"]) > slow
        states = api.call("GET", f"/task_run_states/?task_run_id={failed}")
        again = ["AwaitingRetry", "Retrying"]
        assert [state["name"] for state in states] == ["Pending", "Running", *again, *again, "Failed"]
        assert states[-1]["message"] == row["state"]["message"] == "no"


def test_bulk_logs_come_back_from_the_api(server: PrefectServer, unique: str) -> None:
    at = datetime.now(UTC) - timedelta(hours=1)
    with Seeder(server.url) as api:
        [parent] = bulk_finished_runs(server, api.flow(f"{unique}flow"), [at])
        [task] = bulk_task_runs(server, "load", [(parent, at)])
        lines = [(at + timedelta(milliseconds=number), f"METRIC: rows={number}") for number in range(50)]
        bulk_logs(server, lines, flow_run_id=parent, task_run_id=task)
        bulk_logs(server, [(at, "on its own")], flow_run_id=parent, level=40, logger="prefect.flow_runs")

        here = {"flow_run_id": {"any_": [parent]}}
        found = api.call("POST", "/logs/filter", {"logs": {**here, "level": {"le_": 20}}, "limit": 200})
        assert sorted(row["message"] for row in found) == sorted(message for _, message in lines)
        assert {(row["task_run_id"], row["level"], row["name"]) for row in found} == {(task, 20, "prefect.task_runs")}
        [other] = api.call("POST", "/logs/filter", {"logs": {**here, "level": {"ge_": 40}}})
        assert (other["message"], other["task_run_id"]) == ("on its own", None)
        assert datetime.fromisoformat(other["timestamp"]) == at


def test_bulk_task_runs_look_like_real_ones(server: PrefectServer, seeder: Seeder, unique: str, tmp_path: Path) -> None:
    script = tmp_path / "flow.py"
    script.write_text(REAL_FLOW)
    real = start([sys.executable, script, unique], tmp_path / "log", env=env_for(server))
    assert real.popen.wait(60) == 0, real.output()
    ended = {"flows": {"name": {"any_": [unique]}}, "task_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}}
    [lived] = wait_until(lambda: seeder.call("POST", "/task_runs/filter", ended), 30, "a task run that was recorded")

    [made] = bulk_task_runs(server, "plain", [(lived["flow_run_id"], datetime.now(UTC))])

    row = seeder.call("GET", f"/task_runs/{made}")
    varying = {"id", "name", "created", "updated", "state", "state_id", "start_time", "end_time", "expected_start_time"}
    varying |= {"total_run_time", "estimated_run_time", "estimated_start_time_delta", "task_key", "dynamic_key"}
    assert {key: row[key] for key in row.keys() - varying} == {key: lived[key] for key in lived.keys() - varying}
    assert row["name"].startswith("plain-")
    assert len(row["name"]) == len(lived["name"])
    assert len(row["task_key"]) == len(lived["task_key"])


# --- other servers -------------------------------------------------------------------------------------------------


def test_environment_of_subprocesses_holds_no_setting_of_the_caller(
    server: PrefectServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_KEY", "of the caller")
    monkeypatch.setenv("PREFECT_API_URL", "https://elsewhere.example/api")
    env = env_for(server)
    assert env["PREFECT_API_URL"] == server.url
    assert "PREFECT_API_KEY" not in env
    assert Path(env["PREFECT_HOME"]).is_relative_to(server.home.parent)
    assert env["PATH"]
    assert env_for(server, url="http://127.0.0.1:1/api")["PREFECT_API_URL"] == "http://127.0.0.1:1/api"


# --- the proxy -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("locked", [0, 1])
def test_proxy_forwards_and_remembers(proxy: FaultProxy, unique: str, locked: int) -> None:
    """Also while the server's database is locked for a moment, and the seeder repeats its request."""
    proxy.status(503, when=lambda seen: seen.method == "DELETE", times=locked)
    with Seeder(proxy.url) as through:
        flow = through.flow(f"{unique}flow")
        assert through.call("GET", f"/flows/{flow}")["name"] == f"{unique}flow"
        through.delete_flow(flow)
    taken = [seen for seen in proxy.requests if seen.status != httpx.codes.SERVICE_UNAVAILABLE]
    assert len(proxy.requests) - len(taken) >= locked
    asked = [f"{seen.method} {seen.path}" for seen in taken]
    assert asked == ["POST /flows/", f"GET /flows/{flow}", f"DELETE /flows/{flow}"]
    assert taken[0].json == {"name": f"{unique}flow"}
    assert (taken[0].status, taken[0].size > 0, taken[0].answered_bytes > 0) == (201, True, True)
    assert [seen.at for seen in proxy.requests] == sorted(seen.at for seen in proxy.requests)


def test_links_in_answers_lead_through_the_proxy(proxy: FaultProxy, seeder: Seeder, unique: str) -> None:
    for _ in range(20):  # 60 events, and a page has 50
        seeder.completed(seeder.run(seeder.flow(f"{unique}flow")))
    with Seeder(proxy.url) as through:
        page = wait_until(
            lambda: through.call("POST", "/events/filter", {"filter": {"event": {"prefix": ["prefect.flow-run."]}}})[
                "next_page"
            ],
            60,
            "more than one page of events",
        )
        assert page.startswith(proxy.url)
        assert through.client.get(page).json()["events"]


def test_faults_strike_only_matching_requests(proxy: FaultProxy) -> None:
    with httpx.Client(base_url=proxy.url, timeout=5) as client:
        proxy.status(429, path="/flow_runs", headers={"Retry-After": "3"}, body="slow down")
        assert client.post("/flows/filter", json={}).status_code == 200
        throttled = client.post("/flow_runs/filter", json={})
        assert (throttled.status_code, throttled.headers["retry-after"], throttled.text) == (429, "3", "slow down")

        proxy.clear()
        proxy.status(500, after=1, times=2)
        assert [client.get("/health").status_code for _ in range(4)] == [200, 500, 500, 200]

        proxy.clear()
        proxy.fail_when(lambda seen: bool(seen.json) and seen.json.get("offset") == 200)
        assert client.post("/flows/filter", json={"offset": 0}).status_code == 200
        assert client.post("/flows/filter", json={"offset": 200}).status_code == 503

        proxy.clear()
        proxy.invalid_json(path="/flows")
        with pytest.raises(ValueError, match="Expecting value"):
            client.post("/flows/filter", json={}).json()

        proxy.clear()
        proxy.slow(0.4)
        began = time.monotonic()
        assert client.get("/health").status_code == 200
        assert time.monotonic() - began >= 0.4

        proxy.clear()
        proxy.drop()
        with pytest.raises(httpx.RemoteProtocolError):
            client.get("/health")

        proxy.clear()
        proxy.truncate()
        with pytest.raises(httpx.RemoteProtocolError):
            client.post("/flows/filter", json={})

        proxy.clear()
        proxy.alter(lambda body: body.replace(b"true", b"false"), path="/health")
        assert client.get("/health").json() is False

        proxy.clear()
        proxy.at_random(lambda seen: Fault("status", code=500) if seen.path == "/health" else None)
        assert client.get("/health").status_code == 500
        assert client.post("/flows/filter", json={}).status_code == 200

        proxy.clear()
        assert client.get("/health").status_code == 200


def test_hanging_proxy_stops_immediately(server: PrefectServer) -> None:
    with FaultProxy(server.url) as proxy:
        proxy.hang(path="/flows")
        with httpx.Client(base_url=proxy.url, timeout=0.3) as client, pytest.raises(httpx.ReadTimeout):
            client.post("/flows/filter", json={})

        failed: list[Exception] = []

        def ask() -> None:
            try:
                httpx.post(f"{proxy.url}/flows/filter", json={}, timeout=30)
            except httpx.HTTPError as error:
                failed.append(error)

        asking = threading.Thread(target=ask)
        asking.start()
        wait_until(lambda: len(proxy.requests) == 2, 60, "the second request")
        began = time.monotonic()
    assert time.monotonic() - began < 15 * busyness()
    asking.join(5)
    assert isinstance(failed[0], httpx.RemoteProtocolError)


def test_proxy_refuses_connections_and_comes_back(proxy: FaultProxy) -> None:
    with httpx.Client(base_url=proxy.url, timeout=5) as client:
        assert client.get("/health").status_code == 200
        proxy.refuse()
        with pytest.raises(httpx.ConnectError):
            client.get("/health")
        proxy.accept()
        assert client.get("/health").status_code == 200


def test_error_in_a_predicate_fails_its_test(server: PrefectServer) -> None:
    def mistaken(seen: Seen) -> bool:
        raise KeyError(seen.path)

    proxy = FaultProxy(server.url)
    with pytest.raises(KeyError, match="/health"), proxy:  # noqa: PT012
        proxy.fail_when(mistaken)
        assert httpx.get(f"{proxy.url}/health").status_code == 500


# --- processes, Prometheus, exposition -----------------------------------------------------------------------------


async def test_timeout_names_what_was_awaited(tmp_path: Path) -> None:
    process = start(["sh", "-c", "echo hello; sleep 60"], tmp_path / "log")
    wait_until(lambda: "hello" in process.output(), 60, "a greeting")
    assert process.stop() == -15
    assert not process.running
    with pytest.raises(TimeoutError, match=r"not within 0\.1 s: the moon"):
        wait_until(lambda: 0, 0.1, "the moon")

    async def never() -> bool:
        raise OSError

    with pytest.raises(TimeoutError, match=r"the moon \(last seen: OSError"):
        await wait_until_async(never, 0.1, "the moon", ignore=(OSError,))
    assert await wait_until_async(lambda: 7, 1, "seven") == 7


METRICS = """\
# HELP prefect_flow_run_outcomes_total Terminal states entered.
# TYPE prefect_flow_run_outcomes_total counter
prefect_flow_run_outcomes_total{flow="a",deployment="",state="completed"} 3.0
prefect_flow_run_outcomes_total{flow="a",deployment="",state="failed"} 0.0
prefect_flow_run_outcomes_total{flow="b \\"x\\"",deployment="d",state="failed"} 1.0
"""


def test_empty_label_equals_an_absent_one() -> None:
    samples = exposition.parse('rows{table="orders",env=""} 2\nrows{table="orders",env="prod"} 3\n')
    assert exposition.value(samples, "rows", table="orders") == 2
    assert exposition.value(samples, "rows", table="orders", env="prod") == 3
    assert exposition.value(samples, "rows", table="") is None


def test_exposition_is_parsed_back() -> None:
    samples = exposition.parse(METRICS)
    name = "prefect_flow_run_outcomes_total"
    assert exposition.value(samples, name, flow="a", deployment="", state="completed") == 3
    assert exposition.value(samples, name, flow="a") is None
    assert exposition.total(samples, name, flow="a") == 3
    assert exposition.total(samples, name) == 4
    assert exposition.outcomes(samples) == {("a", "", "completed"): 3, ('b "x"', "d", "failed"): 1}
    with pytest.raises(ValueError, match="exposed twice"):
        exposition.parse(METRICS + METRICS.splitlines()[2] + "\n")


def test_promtool_distinguishes_a_clean_exposition_from_a_bad_one() -> None:
    assert promtool_check_metrics(METRICS) == (True, "")
    clean, output = promtool_check_metrics("# TYPE runs counter\nruns 1\n")
    assert not clean
    assert "runs" in output


def test_prometheus_scrapes_what_is_served(tmp_path: Path) -> None:
    (tmp_path / "metrics").write_text(METRICS)
    port = free_port()
    serving = start(
        [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"], tmp_path / "log", cwd=tmp_path
    )
    try:
        with start_prometheus(tmp_path / "prometheus", [f"http://127.0.0.1:{port}/metrics"]) as prometheus:
            prometheus.wait_for("up", lambda result: set(result.values()) == {1.0})
            assert prometheus.value("sum(prefect_flow_run_outcomes_total)") == 4
            assert prometheus.value("no_such_metric") is None
            assert prometheus.query("scalar(vector(2))") == {frozenset(): 2.0}
            with pytest.raises(ValueError, match="parse error"):
                prometheus.query("sum(")
    finally:
        serving.stop()
