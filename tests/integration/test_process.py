"""The command as a process: startup, refused options, shutdown."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

import prefect_monitoring
from support.bulk import bulk_finished_runs
from support.exporter import Exporter, run_exporter, start_exporter
from support.exposition import outcomes, value
from support.ports import free_port
from support.prefect_server import PrefectServer, env_for
from support.processes import busyness, wait_until
from support.proxy import FaultProxy
from support.rig import rig
from support.seeder import Seeder
from support.truth import truth

MARKER = "MARKER-0451-DO-NOT-TELL"
COMMAND = (sys.executable, "-m", "prefect_monitoring")
env_of = partial(env_for, measured=True)  # coverage of code that only processes run


def run(env: Mapping[str, str], directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], env=dict(env), cwd=directory, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, str]:
    """An environment without the address of Prefect."""
    home = tmp_path / "home"
    home.mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return kept | {"PREFECT_HOME": str(home), "HOME": str(home)}


def ends(exporter: Exporter, number: signal.Signals) -> None:
    """Checks that it ends on a signal: in time, with exit code 0 and a log line."""
    begun = time.monotonic()
    exporter.process.popen.send_signal(number)
    code = exporter.process.popen.wait(20)
    seconds = time.monotonic() - begun
    output = exporter.process.output()
    assert code == 0, output
    assert seconds < 15, f"{seconds:.1f} s\n{output}"
    assert "the ledger is closed" in output
    assert "Traceback" not in output
    assert "never awaited" not in output


# --- shutdown ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("when", "number"),
    [("idle", signal.SIGTERM), ("hanging", signal.SIGTERM), ("loading", signal.SIGTERM), ("hanging", signal.SIGINT)],
    ids=["idle, SIGTERM", "hanging, SIGTERM", "loading, SIGTERM", "hanging, SIGINT"],
)
async def test_signal_stops_the_process_cleanly(
    proxy: FaultProxy,
    server: PrefectServer,
    seeder: Seeder,
    unique: str,
    tmp_path: Path,
    when: str,
    number: signal.Signals,
) -> None:
    flow = seeder.flow(f"{unique}etl")
    seeder.failed(seeder.run(flow))
    options = ("--include-flows", f"{unique}.*", "--birth-hold", "0s")
    if when == "loading":
        now = datetime.now(UTC)
        bulk_finished_runs(server, flow, [now - timedelta(hours=3, seconds=s) for s in range(700)])
        proxy.slow(0.5, path="/flow_runs/filter")
    with start_exporter(env_of(server, url=proxy.url), tmp_path, *options) as exporter:
        if when == "loading":
            wait_until(lambda: _pages(proxy) >= 2, 60, "the first pages")
            assert exporter.get("/-/ready").status_code == 503
        else:
            exporter.wait_ready()
        if when == "hanging":
            proxy.hang()
            proxy.forget()
            wait_until(lambda: len(proxy.requests) >= 2, 60, "a poll that hangs")
        ends(exporter, number)
    proxy.clear()
    async with rig(proxy.url, tmp_path, include_flows=f"{unique}.*") as exporter_again:
        await exporter_again.poll()
        assert outcomes(exporter_again.samples, flow_prefix=unique) == (
            {(f"{unique}etl", "", "failed"): 1, (f"{unique}etl", "", "completed"): 700}
            if when == "loading"
            else {(f"{unique}etl", "", "failed"): 1}
        )


def _pages(proxy: FaultProxy) -> int:
    return sum("end_time" in seen.json["flow_runs"] for seen in proxy.requests if seen.path == "/flow_runs/filter")


# --- startup -------------------------------------------------------------------------------------------------------


def test_exporter_started_before_prefect_recovers(
    proxy: FaultProxy, server: PrefectServer, seeder: Seeder, unique: str, tmp_path: Path
) -> None:
    seeder.failed(seeder.run(seeder.flow(f"{unique}etl")))
    proxy.refuse()
    options = ("--include-flows", f"{unique}.*", "--birth-hold", "0s")
    with start_exporter(env_of(server, url=proxy.url), tmp_path, *options) as exporter:
        wait_until(
            lambda: value(exporter.samples, "prefect_exporter_source_up", source="finished_flow_runs") == 0,
            60,
            "the outage in the metrics",
        )
        assert value(exporter.samples, "prefect_up") == 0
        ready = exporter.get("/-/ready")
        assert ready.status_code == 503
        assert "no poll has been completed" in ready.text
        assert exporter.get("/-/healthy").status_code == 200, "a restart would not help"
        status_page = exporter.get("/")
        assert status_page.status_code == 200
        assert status_page.headers["content-type"].startswith("text/html")
        assert "does not answer" in status_page.text
        assert not outcomes(exporter.samples)
        proxy.accept()
        exporter.wait_ready()
        assert outcomes(exporter.samples, flow_prefix=unique) == truth(server.url, flow_prefix=unique)
        assert value(exporter.samples, "prefect_up") == 1
        status_page = exporter.get("/")
        assert "answers</span>" in status_page.text
        assert 'href="metrics"' in status_page.text
        # The baseline is complete before slower sources, such as workers and deployments, have recovered.
        wait_until(lambda: "is read again" in exporter.process.output(), 30, "the last source to recover")
        output = exporter.process.output()
        assert output.count("WARNING") == 1, output


def test_restart_serves_restored_counters_before_anything_is_read(
    proxy: FaultProxy, server: PrefectServer, seeder: Seeder, unique: str, tmp_path: Path
) -> None:
    flow = seeder.flow(f"{unique}etl")
    for _ in range(3):
        seeder.failed(seeder.run(flow))
    options = ("--include-flows", f"{unique}.*", "--birth-hold", "0s")
    env = env_of(server, url=proxy.url)
    with start_exporter(env, tmp_path, *options) as exporter:
        exporter.wait_ready()
        exporter.process.kill()
    proxy.hang()
    with start_exporter(env, tmp_path, *options) as exporter:
        assert outcomes(exporter.samples, flow_prefix=unique) == {(f"{unique}etl", "", "failed"): 3}
        failures = "prefect_flow_run_consecutive_failures"
        assert value(exporter.samples, failures, flow=f"{unique}etl", deployment="") == 3
        assert "no poll has been completed yet" in exporter.get("/-/ready").text
        wait_until(lambda: proxy.requests, 60, "a poll that hangs")
        for path in ("/metrics", "/", "/-/healthy"):
            begun = time.monotonic()
            assert exporter.get(path).status_code == 200
            assert time.monotonic() - begun < 10 * busyness()


def test_debug_log_and_pages_hold_no_secret(
    proxy: FaultProxy, server: PrefectServer, unique: str, tmp_path: Path
) -> None:
    env = env_of(server, url=proxy.url.replace("://", f"://admin:{MARKER}@"))
    env |= {"PREFECT_API_KEY": MARKER}
    options = ("--include-flows", f"{unique}.*", "--log-level", "debug")
    with start_exporter(env, tmp_path, *options) as exporter:
        exporter.wait_ready()
        proxy.status(401)
        wait_until(lambda: "prefect_up 0" in exporter.text, 60, "an outage")
        outputs = [exporter.get(path).text for path in ("/metrics", "/", "/-/ready", "/-/healthy")]
        exporter.process.stop()
    outputs.append(exporter.process.output())
    assert "DEBUG" in outputs[-1]
    assert "Watching http://127.0.0.1" in outputs[-1]
    assert not [text for text in outputs if MARKER in text]


def test_json_log_lines_have_level_and_message(
    proxy: FaultProxy, server: PrefectServer, unique: str, tmp_path: Path
) -> None:
    options = ("--include-flows", f"{unique}.*", "--log-format", "json")
    with start_exporter(env_of(server, url=proxy.url), tmp_path, *options) as exporter:
        exporter.wait_ready()
        proxy.status(503)
        wait_until(lambda: "prefect_up 0" in exporter.text, 60, "an outage")
        exporter.process.kill()  # shutdown has other tests
    lines = [json.loads(line) for line in exporter.process.output().splitlines()]
    assert all(line.keys() == {"time", "level", "logger", "message"} for line in lines)
    assert {line["level"] for line in lines} == {"info", "warning"}
    assert all(datetime.fromisoformat(line["time"]).tzinfo for line in lines)
    assert "Watching" in lines[0]["message"]


# --- refused options -----------------------------------------------------------------------------------------------


def test_port_in_use_is_refused(server: PrefectServer, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        exporter = run_exporter(env_of(server), tmp_path, "--listen", address)
        assert exporter.process.popen.wait(20) == 2
    output = exporter.process.output()
    assert f"Cannot listen on {address}" in output
    assert "--listen" in output
    assert "Traceback" not in output
    assert not (tmp_path / "ledger.db").exists()


@pytest.mark.parametrize("command", ["serve", "check"])
def test_missing_api_url_is_refused(bare: dict[str, str], tmp_path: Path, command: str) -> None:
    listen = ("--listen", f"127.0.0.1:{free_port()}")
    done = run(bare, tmp_path, command, *listen, "--ledger-url", f"sqlite:///{tmp_path / 'ledger.db'}")
    assert done.returncode == 2, done.stderr
    assert "set PREFECT_API_URL" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "ledger.db").exists()


def test_every_wrong_option_is_reported_with_its_place(server: PrefectServer, tmp_path: Path) -> None:
    (tmp_path / "options.yaml").write_text("poll_interval: 15\nno_such_option: 1\nduration_buckets: [3, 2]\n")
    env = env_of(server) | {
        "PREFECT_MONITORING_LISTEN": "nowhere",
        "PREFECT_MONITORING_CONFIG": str(tmp_path / "options.yaml"),
        "PREFECT_MONITORING_TYPO": "1",
    }
    wrong = ("--include-flows", "(", "--source-timeout", "5 minutes", "--max-pairs", "-1")
    places = {
        "--include-flows": "regular expression",
        "--source-timeout": "not a duration",
        "--max-pairs": "greater than 0",
        "PREFECT_MONITORING_LISTEN": "HOST:PORT",
        "PREFECT_MONITORING_TYPO": "no such option",
        "options.yaml:1: poll_interval: ": "not a duration",
        "options.yaml:2: no_such_option: ": "no such option",
        "options.yaml:3: duration_buckets: ": "ascending",
    }
    for command in ("serve", "check"):
        done = run(env, tmp_path, command, *wrong)
        printed = done.stderr if command == "serve" else done.stdout
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        for place, complaint in places.items():
            (line,) = [line for line in printed.splitlines() if place in line]
            assert complaint in line
        assert len([line for line in printed.splitlines() if "options.yaml" in line or "--" in line]) >= 6
        if command == "check":
            assert "ok     Prefect API" in printed, "other checks still run"


def test_check_finds_nothing_wrong(server: PrefectServer, tmp_path: Path) -> None:
    done = run(env_of(server), tmp_path, "check", "--ledger-url", f"sqlite:///{tmp_path / 'new' / 'ledger.db'}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["ok"] * 3
    assert not list(tmp_path.glob("new*")), "check creates no files"
    with start_exporter(env_of(server), tmp_path) as exporter:
        exporter.wait_ready()
        done = run(env_of(server), tmp_path, "check", "--ledger-url", f"sqlite:///{tmp_path / 'ledger.db'}")
        assert done.returncode == 0
        assert "in use by a running prefect-monitoring" in done.stdout


def test_check_finds_every_fault_at_once(proxy: FaultProxy, server: PrefectServer, tmp_path: Path) -> None:
    proxy.status(403, path="/deployments")
    proxy.status(500, path="/flow_runs/count")
    (tmp_path / "file").write_text("")
    done = run(
        env_of(server, url=proxy.url),
        tmp_path,
        "check",
        "--ledger-url",
        f"sqlite:///{tmp_path / 'file' / 'ledger.db'}",
    )
    assert done.returncode == 2
    faults = [line for line in done.stdout.splitlines() if line.startswith("FAULT")]
    assert len(faults) == 3, done.stdout
    assert "deployments" in faults[0] + faults[1]
    assert "403" in faults[0] + faults[1]
    assert "flow run counts" in faults[0] + faults[1]
    assert "500" in faults[0] + faults[1]
    assert "ledger" in faults[2]


def test_check_does_not_wait_long_for_a_silent_api(proxy: FaultProxy, server: PrefectServer, tmp_path: Path) -> None:
    proxy.hang()
    begun = time.monotonic()
    options = ("--ledger-url", f"sqlite:///{tmp_path / 'ledger.db'}", "--source-timeout", "2s")
    done = run(env_of(server, url=proxy.url), tmp_path, "check", *options)
    assert done.returncode == 2
    assert done.stdout.count("no answer within 2 s") == 1
    assert time.monotonic() - begun < 20 * busyness(), "sequential checks would take half a minute"


def test_version_and_help_need_no_prefect(bare: dict[str, str], tmp_path: Path) -> None:
    assert run(bare, tmp_path, "--version").stdout.strip() == prefect_monitoring.__version__
    shown = run(bare | {"PYTHONPROFILEIMPORTTIME": "1"}, tmp_path, "--help")
    assert shown.returncode == 0
    imported = {line.rpartition("|")[2].strip() for line in shown.stderr.splitlines()}
    assert "prefect_monitoring" in imported
    assert "prefect" not in imported, "importing it takes seconds, and help does not need it"
    assert all(command in shown.stdout for command in ("serve", "check", "demo"))
    options = run(bare, tmp_path, "serve", "--help").stdout
    assert "--poll-interval" in options
    assert "PREFECT_MONITORING_POLL_INTERVAL" in options
    nothing = run(bare, tmp_path)
    assert nothing.returncode == 2
    assert "COMMAND" in nothing.stderr
    assert "Traceback" not in nothing.stderr
