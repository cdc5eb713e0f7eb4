"""Exporters as forks of a process that has already imported everything, so that each starts within a second.

A fork is killed and ends like any other process; forks share only code.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from support.exporter import Exporter, serve_arguments
from support.ports import free_port
from support.processes import wait_until


@dataclass(frozen=True)
class Fork:
    """Its files in `folder`: `pid` once it runs, `exit` with its exit code once it has ended, `log`."""

    folder: Path

    @property
    def pid(self) -> int:
        return int((self.folder / "pid").read_text())

    @property
    def running(self) -> bool:
        return not (self.folder / "exit").exists()

    @property
    def exit_code(self) -> int:
        return int((self.folder / "exit").read_text())

    def output(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def kill(self) -> None:
        """Sends SIGKILL and waits for its end."""
        if self.running:
            os.kill(self.pid, signal.SIGKILL)
            wait_until(lambda: not self.running, 60, "the end of the killed process", every=0.02)


class Forker:
    """Starts exporters through a test `module` that calls `serve_orders`."""

    def __init__(self, module: str, env: Mapping[str, str], directory: Path) -> None:
        self._directory = directory
        self._forks = 0
        tests = str(Path(__file__).parents[1])
        self._popen = subprocess.Popen(
            [sys.executable, "-m", module],
            env={**env, "PYTHONPATH": tests},
            cwd=directory,
            stdin=subprocess.PIPE,
            text=True,
        )

    def start(self, variant: str, *options: str) -> tuple[Exporter, Fork]:
        """An exporter with the ledger of the directory; `variant` is passed on to the script."""
        self._forks += 1
        fork = Fork(self._directory / f"fork-{self._forks}")
        fork.folder.mkdir()
        port = free_port()
        order = [str(fork.folder), variant, *serve_arguments(port, self._directory), *options]
        assert self._popen.stdin is not None
        self._popen.stdin.write(json.dumps(order) + "\n")
        self._popen.stdin.flush()
        wait_until((fork.folder / "pid").exists, 180, "a fork", every=0.02)
        return Exporter(f"http://127.0.0.1:{port}", fork), fork  # type: ignore[arg-type] # it is only read of it

    def close(self) -> None:
        self._popen.kill()
        self._popen.wait()


def serve_orders(run: Callable[[str, Sequence[str]], int]) -> None:
    """Called by the script: runs `run(variant, arguments)` in a fork for each order, until standard input ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for line in sys.stdin:
        folder, variant, *arguments = json.loads(line)
        if os.fork() == 0:
            _supervise(Path(folder), lambda: run(variant, arguments))  # noqa: B023 called before the next one


def _supervise(folder: Path, run: Callable[[], int]) -> None:
    """Waits for the fork and writes its exit code, which only its parent can read."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        _become(folder, run)
    _write(folder / "pid", pid)
    _, status = os.waitpid(pid, 0)
    _write(folder / "exit", os.waitstatus_to_exitcode(status))
    os._exit(0)


def _become(folder: Path, run: Callable[[], int]) -> None:
    code = 1
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT)
        os.dup2(log, 1)
        os.dup2(log, 2)
        code = run()
    finally:
        os._exit(code)


def _write(path: Path, number: int) -> None:
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(str(number))
    unfinished.replace(path)
