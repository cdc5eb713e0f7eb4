"""The processes that the demo starts: their environment, their ports, their logs and their end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_LOCAL: Final = "127.0.0.1,localhost"


class DemoError(Exception):
    """The demo cannot start or continue; the message is for its user."""


@dataclass(frozen=True, slots=True)
class Launcher:
    """What all children have in common."""

    environment: Mapping[str, str]
    cwd: Path
    logs: Path


@dataclass(frozen=True, slots=True)
class Child:
    name: str
    process: subprocess.Popen[bytes]
    log: Path
    grace_seconds: float


def clean_environment(inherited: Mapping[str, str], home: Path, api_url: str) -> dict[str, str]:
    """`inherited` with no Prefect settings but the demo's own: nothing comes from the user's profile or goes into it.

    The exporter's options stay, so that they can be tried out on the demo.
    """
    kept = {
        name: value
        for name, value in inherited.items()
        if not name.upper().startswith("PREFECT_") or name.upper().startswith("PREFECT_MONITORING_")
    }
    proxied = inherited.get("no_proxy") or inherited.get("NO_PROXY")
    no_proxy = f"{proxied},{_LOCAL}" if proxied else _LOCAL
    return kept | {
        "PREFECT_HOME": str(home),
        "PREFECT_PROFILES_PATH": str(home / "profiles.toml"),
        "PREFECT_API_URL": api_url,
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_LOGGING_LEVEL": "INFO",
        "PREFECT_LOGGING_COLORS": "false",
        "PREFECT_CLI_COLORS": "false",
        # Workers start processes ahead of their runs; with frequent polls, one or two at a time.
        "PREFECT_WORKER_QUERY_SECONDS": "5",
        "PYTHONUNBUFFERED": "1",
        "NO_PROXY": no_proxy,
        "no_proxy": no_proxy,
    }


def split_address(address: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`; an IPv6 host loses its brackets."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise DemoError(f"{address!r} is not HOST:PORT, such as 127.0.0.1:9877")
    return host.strip("[]"), int(port)


def join_address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def usable_port(host: str, wanted: int) -> int:
    """`wanted` if nothing listens there, else a free port; 0 always finds a free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in (wanted, 0):
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # Without it the port of a demo stopped a minute ago would count as taken.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except (OSError, OverflowError):
                continue
            return int(probe.getsockname()[1])
    raise DemoError(f"{host} is not an address of this machine")


def start(
    launcher: Launcher,
    name: str,
    arguments: Sequence[str],
    *,
    program: str = sys.executable,
    cwd: Path | None = None,
    grace_seconds: float = 8,
) -> Child:
    """Run `program` (this Python) with `arguments`, in a separate process group, its output in a log file."""
    log = launcher.logs / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 what runs is decided here and in the modules next to this one
            [program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(launcher.environment),
            cwd=cwd or launcher.cwd,
            # Ctrl-C reaches only the demo, which then stops everything in the right order.
            start_new_session=True,
        )
    return Child(name, process, log, grace_seconds)


def check_alive(children: Sequence[Child]) -> None:
    """Raise DemoError, with the end of its log, if a child has exited."""
    for child in children:
        code = child.process.poll()
        if code is not None:
            raise DemoError(f"The {child.name} ended by itself (exit code {code}).\n{log_end(child)}")


def log_end(child: Child, lines: int = 15) -> str:
    with child.log.open(errors="replace") as log:
        last = deque(log, maxlen=lines)
    return f"Last lines of {child.log}:\n" + "".join(f"  {line.rstrip()}\n" for line in last)


def stop(child: Child) -> None:
    """End the whole process group; what is left of it after its grace is killed."""
    if child.grace_seconds and _signal_group(child, signal.SIGTERM):
        with suppress(subprocess.TimeoutExpired):
            child.process.wait(child.grace_seconds)
    # The leader may be gone while others of its group are not.
    _signal_group(child, signal.SIGKILL)
    child.process.wait()


def _signal_group(child: Child, number: signal.Signals) -> bool:
    try:
        os.killpg(child.process.pid, number)
    except (ProcessLookupError, PermissionError):  # macOS: PermissionError when only zombies are left
        return False
    return True
