import importlib.util
import os
import re
import signal
import socket
import subprocess
import time
from datetime import UTC, datetime
from itertools import pairwise
from math import lcm
from pathlib import Path

import httpx
import pytest
from prefect import Flow

from prefect_monitoring.config.shipped import shipped
from prefect_monitoring.demo import run
from prefect_monitoring.demo.prefect_server import deployment
from prefect_monitoring.demo.processes import (
    Child,
    DemoError,
    Launcher,
    check_alive,
    clean_environment,
    join_address,
    split_address,
    start,
    stop,
    usable_port,
)
from prefect_monitoring.demo.schedule import (
    EXAMPLES,
    LEAD_SECONDS,
    PERIOD_SECONDS,
    POOL_SLOTS,
    SLOT_SECONDS,
    Example,
    starts,
)
from prefect_monitoring.policy.pipelines_file import parse_pipelines, read_pipelines
from support.ports import free_port
from support.processes import wait_until

FLOWS = shipped("examples/flows")
by_flow = pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.flow)


# --- the schedule --------------------------------------------------------------------------------------------------


def test_no_two_runs_start_in_the_same_slot() -> None:
    periods = lcm(*(example.every or 1 for example in EXAMPLES)) + 1  # until it repeats, and beyond
    assert min(later - earlier for earlier, later in pairwise(starts(EXAMPLES, periods))) >= SLOT_SECONDS


@by_flow
def test_slot_lies_in_its_period_before_the_lead_of_the_next(example: Example) -> None:
    assert example.slots[0] >= 0
    assert example.slots[-1] * SLOT_SECONDS <= PERIOD_SECONDS - LEAD_SECONDS


@by_flow
def test_deployment_due_several_times_a_period_has_a_slot_for_each(example: Example) -> None:
    if example.times > 1:
        assert [slot * SLOT_SECONDS for slot in example.slots] == [
            example.offset_seconds + number * example.interval_seconds for number in range(example.times)
        ]


def test_deployment_due_every_second_period_is_not_due_in_adjacent_periods() -> None:
    assert starts([Example("a", (1,), (), "", every=2), Example("b", (3, 4), (), "")], periods=2) == [
        SLOT_SECONDS,
        3 * SLOT_SECONDS,
        4 * SLOT_SECONDS,
        PERIOD_SECONDS + 3 * SLOT_SECONDS,
        PERIOD_SECONDS + 4 * SLOT_SECONDS,
    ]


# --- the deployments -----------------------------------------------------------------------------------------------


@by_flow
def test_entrypoint_is_the_flow_of_that_name(example: Example) -> None:
    file, function = example.entrypoint.split(":")
    spec = importlib.util.spec_from_file_location(function, FLOWS / file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    flow = getattr(module, function)
    assert isinstance(flow, Flow)
    assert flow.name == example.flow


def test_every_example_flow_is_deployed() -> None:
    deployed = {example.entrypoint.split(":")[0] for example in EXAMPLES}
    assert deployed == {file.name for file in FLOWS.glob("*.py")}


def test_deployment_started_by_a_flow_has_no_schedule() -> None:
    started = {
        name for file in FLOWS.glob("*.py") for name in re.findall(r'run_deployment\(\s*"(.+?)"', file.read_text())
    }
    assert started == {f"{example.flow}/{example.name}" for example in EXAMPLES if not example.every}


def test_supplier_fails_every_other_run() -> None:
    (example,) = (example for example in EXAMPLES if example.flow == "supplier-prices")
    seconds = re.search(r"^OUTAGE_SECONDS = (\d+)", (FLOWS / "supplier_prices.py").read_text(), re.MULTILINE)
    assert seconds is not None
    assert int(seconds[1]) == example.interval_seconds


def test_rules_of_the_pipelines_file_name_deployed_pipelines() -> None:
    path = shipped("examples/pipelines.yml")
    declared = parse_pipelines(read_pipelines(path), str(path)).pipelines
    paused = {target for pipeline in declared if pipeline.on_failure for target in pipeline.on_failure.pause}
    raised = {pipeline.scale.work_pool: pipeline.scale.concurrency for pipeline in declared if pipeline.scale}
    retried = {str(pipeline.flow) for pipeline in declared if pipeline.retry}
    assert paused <= {f"{example.flow}/{example.name}" for example in EXAMPLES if example.every}
    assert retried <= {example.flow for example in EXAMPLES} - {"legacy-ftp-import"}, "that one has to keep failing"
    assert all(POOL_SLOTS[pool] < slots for pool, slots in raised.items())
    assert all((paused, raised, retried, [pipeline for pipeline in declared if pipeline.skip]))


def test_schedule_is_anchored_at_its_slot_of_the_first_period() -> None:
    example = Example("my-flow", (3,), ("daily",), "Something", every=2)
    body = deployment(example, Path("/flows"), datetime(2026, 1, 1, tzinfo=UTC))
    assert body["entrypoint"] == "my_flow.py:my_flow"
    assert body["tags"] == ["daily"]
    assert body["schedules"] == [
        {"schedule": {"interval": 2 * PERIOD_SECONDS, "anchor_date": "2026-01-01T00:00:15+00:00"}, "active": True}
    ]


# --- the processes -------------------------------------------------------------------------------------------------


def test_prefect_settings_of_the_user_do_not_reach_the_demo() -> None:
    inherited = {
        "PATH": "/bin",
        "PREFECT_API_KEY": "secret",
        "prefect_server_database_connection_url": "postgresql://production",
        "PREFECT_MONITORING_BIRTH_HOLD": "1s",
        "NO_PROXY": "intranet",
    }
    environment = clean_environment(inherited, Path("/demo/home"), "http://127.0.0.1:1/api")
    assert "PREFECT_API_KEY" not in environment
    assert "prefect_server_database_connection_url" not in environment
    assert environment["PATH"] == "/bin"
    assert environment["PREFECT_MONITORING_BIRTH_HOLD"] == "1s"
    assert environment["PREFECT_API_URL"] == "http://127.0.0.1:1/api"
    assert environment["PREFECT_HOME"] == "/demo/home"
    assert environment["no_proxy"] == environment["NO_PROXY"] == "intranet,127.0.0.1,localhost"


@pytest.mark.parametrize("address", ["127.0.0.1:9877", "[::1]:80", "localhost:0"])
def test_address_is_split_and_joined_unchanged(address: str) -> None:
    assert join_address(*split_address(address)) == address


@pytest.mark.parametrize("address", ["", "9877", ":9877", "localhost", "localhost:", "localhost:http", "localhost:-1"])
def test_wrong_address_is_refused(address: str) -> None:
    with pytest.raises(DemoError, match="HOST:PORT"):
        split_address(address)


def test_port_in_use_is_replaced_and_a_free_one_is_kept() -> None:
    free = free_port()
    assert usable_port("127.0.0.1", free) == free
    with socket.create_server(("127.0.0.1", free)):
        assert usable_port("127.0.0.1", free) not in (0, free)
    assert usable_port("127.0.0.1", 0) != 0
    with pytest.raises(DemoError, match=r"192\.0\.2\.1"):
        usable_port("192.0.2.1", 80)


@pytest.fixture
def launcher(tmp_path: Path) -> Launcher:
    return Launcher(os.environ, tmp_path, tmp_path)


def test_process_that_ended_is_reported_with_the_end_of_its_log(launcher: Launcher) -> None:
    child = start(launcher, "worker", ("-c", "print(*range(100), sep='\\n'); raise SystemExit(3)"))
    child.process.wait(10)
    with pytest.raises(DemoError, match=r"(?s)The worker ended by itself \(exit code 3\).*\n  98\n  99\n") as raised:
        check_alive([child])
    assert "\n  80\n" not in str(raised.value)


# A leader that is gone or ignores SIGTERM, and a child in its group that ignores SIGTERM.
_DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
_PARENT = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {_DEAF!r}]); "


def test_process_that_ends_while_starting_is_not_waited_for(
    launcher: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "_CHECK_SECONDS", 0.2)
    child = start(launcher, "prefect-server", ("-c", "raise SystemExit(3)"))
    with (
        httpx.Client(base_url=f"http://127.0.0.1:{free_port()}", trust_env=False) as client,
        pytest.raises(DemoError, match=r"prefect-server ended by itself \(exit code 3\)"),
    ):
        run._wait_until_up(child, client, "/health")


def test_process_that_never_answers_is_reported(launcher: Launcher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "_CHECK_SECONDS", 0.1)
    monkeypatch.setattr(run, "_UP_SECONDS", 0)
    child = start(launcher, "exporter", ("-c", "import time; time.sleep(60)"))
    try:
        with (
            httpx.Client(base_url=f"http://127.0.0.1:{free_port()}", trust_env=False) as client,
            pytest.raises(DemoError, match="The exporter did not answer within 0 s"),
        ):
            run._wait_until_up(child, client, "/metrics")
    finally:
        stop(child)


@pytest.mark.parametrize("leader", ["time.sleep(60)", _DEAF], ids=["polite", "deaf"])
def test_stop_ends_the_whole_process_group(launcher: Launcher, leader: str) -> None:
    child = start(launcher, "family", ("-c", _PARENT + leader), grace_seconds=0.3)
    wait_until(lambda: "deaf" in child.log.read_text(), 60, "the deaf child")
    began = time.monotonic()
    stop(child)
    assert child.process.returncode in (-signal.SIGTERM, -signal.SIGKILL)
    wait_until(lambda: not group_lives(child), 60, "the end of the group")
    assert time.monotonic() - began < 30


def test_stopping_an_ended_process_is_no_error(launcher: Launcher) -> None:
    child = start(launcher, "short", ("-c", ""))
    child.process.wait(10)
    stop(child)
    assert child.process.returncode == 0


def group_lives(child: Child) -> bool:
    """Zombies that have not been reaped yet do not count."""
    listed = subprocess.run(["ps", "-A", "-o", "pgid=,stat="], capture_output=True, text=True, check=True).stdout
    return any(
        int(group) == child.process.pid and not state.startswith("Z")
        for group, state in (line.split() for line in listed.splitlines())
    )
