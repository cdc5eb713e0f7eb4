"""`prefect-monitoring demo`: its own Prefect server, example pipelines, a worker and the exporter, until Ctrl-C."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import filelock
import httpx

from prefect_monitoring.config.shipped import shipped
from prefect_monitoring.demo import archive, cloudwatch, monitoring, prefect_server, processes
from prefect_monitoring.demo.addresses import monitoring_hint
from prefect_monitoring.demo.inbox_page import WORKING_HOURS
from prefect_monitoring.demo.processes import Child, DemoError, Launcher
from prefect_monitoring.demo.schedule import EXAMPLES, LEAD_SECONDS, PERIOD_SECONDS, WORKER_POOL

_HOST: Final = "127.0.0.1"
# For a slow machine. A process that ends is noticed at once.
_UP_SECONDS: Final = 300
_CHECK_SECONDS: Final = 5
_STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_INSTALL_HINT: Final = "on Debian: apt-get install prometheus prometheus-alertmanager"
_MESSAGES: Final = f"""
Messages shows what Slack and PagerDuty would have received; the first arrive after a minute or two. {WORKING_HOURS}

This demo has no dashboards. `docker compose --profile demo up` starts a Grafana with them, or import those of
grafana/dashboards/ into a Grafana that reads from the Prometheus above."""


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """`directory` keeps everything, so that a second start continues where the first ended.

    `prefect_port` 0 is any free port. A port that is taken, Prefect's or that of `listen` (HOST:PORT), is replaced by a
    free one.
    """

    directory: Path
    prefect_port: int = 4200
    listen: str = "127.0.0.1:9877"


class _Stopped(Exception):  # noqa: N818 a request, not an error
    pass


@dataclass(frozen=True, slots=True)
class _Demo:
    """A demo that is starting: its directory, its children so far, and whether it was asked to stop."""

    directory: Path
    api: str
    launcher: Launcher
    stop_requested: threading.Event
    children: list[Child] = field(default_factory=list)

    def check(self) -> None:
        """Raise if the demo was asked to stop, or a child has exited."""
        if self.stop_requested.is_set():
            raise _Stopped
        processes.check_alive(self.children)


def run_demo(options: DemoOptions) -> int:
    """Run the demo until SIGINT, SIGTERM or SIGHUP: 0, or 1 when it could not start or a part of it died."""
    directory = options.directory.expanduser().resolve()
    directory.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(directory / "demo.lock", timeout=0), _stop_requests() as stop_requested:
            return _run(options, directory, stop_requested)
    except filelock.Timeout:
        _say(f"Another demo is running in {directory}: stop it, or choose another directory.")
    except DemoError as error:
        _say(str(error))
    return 1


def _run(options: DemoOptions, directory: Path, stop_requested: threading.Event) -> int:
    processes.split_address(options.listen)  # a wrong one is reported now, not after a minute
    port = _choose_port("Prefect", _HOST, options.prefect_port)
    api = f"http://{_HOST}:{port}/api"
    # The working directory is the demo's own, so that no prefect.toml or .env of the user is read.
    home, logs = directory / "prefect-home", directory / "logs"
    for folder in (home, logs):
        folder.mkdir(exist_ok=True)
    launcher = Launcher(processes.clean_environment(os.environ, home, api), home, logs)
    demo = _Demo(directory, api, launcher, stop_requested)
    try:
        _start_prefect(demo, port)
        aws = _start_cloudwatch(demo)
        listen = _start_exporter(demo, options.listen, aws)
        _start_worker(demo)
        hints = cloudwatch.hint(aws), archive.hint(directory, _start_archive(demo))
        _say(_addresses(demo, listen, "\n".join([_start_monitoring(demo, listen), *hints])))
        while not stop_requested.wait(0.5):
            demo.check()
    except _Stopped:
        pass
    finally:
        _say("Stopping …")
        # The last one first, so that no process loses a server that it still talks to.
        for child in reversed(demo.children):
            processes.stop(child)
    return 0


def _start_prefect(demo: _Demo, port: int) -> None:
    _say("Starting Prefect; the first start in a directory takes longest …")
    with prefect_server.connect(demo.api, demo.check) as client:
        if (demo.launcher.cwd / "prefect.db").exists():
            # Its services would at once mark as late whatever was due in the meantime, and keep SQLite locked.
            without_services = _start_server(demo, client, port, "--no-services")
            prefect_server.clear_leftovers(client, due_before=datetime.now(UTC) + timedelta(minutes=1))
            demo.children.remove(without_services)
            processes.stop(without_services)
        _start_server(demo, client, port)
        prefect_server.deploy(client, shipped("examples/flows"), datetime.now(UTC) + timedelta(seconds=LEAD_SECONDS))


def _start_server(demo: _Demo, client: httpx.Client, port: int, *options: str) -> Child:
    command = ("-m", "prefect", "server", "start", "--host", _HOST, "--port", str(port), *options)
    server = processes.start(demo.launcher, "prefect-server", command)
    demo.children.append(server)
    _wait_until_up(server, client, "/health")
    return server


def _wait_until_up(child: Child, client: httpx.Client, path: str) -> None:
    """Raises DemoError, with the end of its log, if the child ends or does not answer."""
    deadline = time.monotonic() + _UP_SECONDS
    while not prefect_server.wait_until_up(client, path, seconds=_CHECK_SECONDS):
        processes.check_alive([child])
        if time.monotonic() > deadline:
            raise DemoError(f"The {child.name} did not answer within {_UP_SECONDS} s.\n{processes.log_end(child)}")


def _start_cloudwatch(demo: _Demo) -> str:
    """Starts the stand-in if it is installed; returns its URL, else ""."""
    if not cloudwatch.is_installed():
        return ""
    port = _choose_port("The stand-in for CloudWatch", _HOST, 5005)
    demo.children.append(cloudwatch.start_stand_in(demo.launcher, _HOST, port))
    return f"http://{_HOST}:{port}"


def _start_archive(demo: _Demo) -> str:
    """Starts the archive if it can run; returns the address of its metrics, else ""."""
    if not archive.is_installed():
        return ""
    listen = processes.join_address(_HOST, _choose_port("The archive", _HOST, 9878))
    demo.children.append(archive.start_archive(demo.launcher, demo.directory, listen))
    return listen


def _start_exporter(demo: _Demo, wanted: str, aws: str) -> str:
    host, wanted_port = processes.split_address(wanted)
    listen = processes.join_address(host, _choose_port("The exporter", host, wanted_port))
    command = ["-m", "prefect_monitoring", "serve", "--listen", listen, "--poll-interval", "5s"]
    command += ["--ledger-url", _ledger_url(demo.directory)]
    command += ["--pipelines", str(shipped("examples/pipelines.yml"))]
    # An hour of the demo has the runs and actions of some weeks: they must not blow the fuse.
    command += ["--act", "--act-max-per-hour", "500", "--act-max-per-cause", "250"]
    # A ledger belongs to one API address; another port is the same server, moved.
    remembered = demo.directory / "api-address"
    if remembered.exists():
        command += ["--moved-from", remembered.read_text().strip()]
    launcher = demo.launcher
    if aws:
        command += cloudwatch.OPTIONS
        launcher = cloudwatch.for_stand_in(launcher, aws)
    exporter = processes.start(launcher, "exporter", command)
    demo.children.append(exporter)
    with prefect_server.connect(_url(listen), demo.check) as client:
        _wait_until_up(exporter, client, "/metrics")
    remembered.write_text(f"{demo.api}\n")
    return listen


def _ledger_url(directory: Path) -> str:
    return f"sqlite:///{directory / 'ledger.db'}"


def _start_worker(demo: _Demo) -> None:
    command = ("-m", "prefect", "worker", "start", "--type", "process", "--pool", WORKER_POOL, "--name", "demo-worker")
    # No grace: a run that is asked to end reports a crash, and stopping the demo is not a failure of its pipelines.
    # The next start settles what was running.
    worker = processes.start(demo.launcher, "worker", command, cwd=shipped("examples/flows"), grace_seconds=0)
    demo.children.append(worker)


def _start_monitoring(demo: _Demo, exporter: str) -> str:
    """Starts Prometheus and Alertmanager if they are installed; returns what to print about them."""
    if missing := {"prometheus", "alertmanager"} - monitoring.find_binaries().keys():
        return f"Messages    off: {' and '.join(sorted(missing))} not found on PATH ({_INSTALL_HINT})"
    at, children = monitoring.start_monitoring(
        demo.launcher, demo.directory, exporter, lambda name, port: _choose_port(name, _HOST, port)
    )
    demo.children.extend(children)
    with (
        prefect_server.connect(f"http://{at.prometheus}", demo.check) as prometheus,
        prefect_server.connect(f"http://{at.alertmanager}", demo.check) as alertmanager,
    ):
        return monitoring_hint(at, prometheus, alertmanager) + f"\n{_MESSAGES}"


def _choose_port(name: str, host: str, wanted: int) -> int:
    port = processes.usable_port(host, wanted)
    if wanted not in (0, port):
        _say(f"Port {wanted} is taken: {name} uses {port}.")
    return port


def _url(listen: str) -> str:
    host, port = processes.split_address(listen)
    reachable = {"0.0.0.0": _HOST, "::": "::1"}.get(host, host)  # noqa: S104 compared, not bound
    return f"http://{processes.join_address(reachable, port)}"


def _addresses(demo: _Demo, listen: str, monitoring: str) -> str:
    exporter = _url(listen)
    return f"""
Prefect     {demo.api.removesuffix("/api")}
Exporter    {exporter}
Metrics     {exporter}/metrics
Logs        {demo.launcher.logs}
{monitoring}

{len(EXAMPLES)} deployments. The first run starts in {LEAD_SECONDS} s, the others within {PERIOD_SECONDS} s of it:

  curl -s {exporter}/metrics | grep '^prefect_flow_run_outcomes_total{{.*dbt-daily-pipeline'

The exporter also acts: it retries, pauses, resumes, scales and skips, as examples/pipelines.yml declares. Its actions:

  prefect-monitoring actions --ledger-url {shlex.quote(_ledger_url(demo.directory))}

Ctrl-C stops everything. The next start in {demo.directory} keeps
Prefect's runs, the exporter's counters and the archive; Prometheus' history, silences and messages start anew.
"""


@contextmanager
def _stop_requests() -> Iterator[threading.Event]:
    """An event that is set by the first of the stop signals; later ones change nothing."""
    requested = threading.Event()
    before = {number: signal.signal(number, lambda *_: requested.set()) for number in _STOP_SIGNALS}
    try:
        yield requested
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say(text: str) -> None:
    # Even when the terminal is gone, everything has to be stopped.
    with suppress(OSError):
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
