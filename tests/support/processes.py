"""Subprocesses with a log file, and waiting for something to become true."""

import asyncio
import inspect
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

LONGEST_PAUSE = 0.5  # seconds between two calls


def busyness() -> float:
    """The load per processor, from 1 to 5: the factor by which time limits grow."""
    return max(1.0, min(5.0, os.getloadavg()[0] / (os.cpu_count() or 1)))


@dataclass
class Process:
    popen: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.popen.pid

    @property
    def running(self) -> bool:
        return self.popen.poll() is None

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def stop(self, *, seconds: float = 10) -> int:
        """Ask it to end (SIGTERM), insist after a while (SIGKILL). Returns the exit code."""
        with suppress(ProcessLookupError):
            self.popen.terminate()
        try:
            return self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        """Sends SIGKILL, so that it cannot clean up."""
        with suppress(ProcessLookupError):
            self.popen.kill()
        return self.popen.wait()

    def kill_all(self) -> int:
        """Sends SIGKILL to it and all its children, as if the machine was lost. Needs `start(…, new_session=True)`."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        return self.popen.wait()


def start(
    command: Sequence[str | Path],
    log: Path,
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    new_session: bool = False,
) -> Process:
    """Start a command; its output is appended to `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        popen = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(os.environ if env is None else env),
            cwd=cwd,
            start_new_session=new_session,
        )
    return Process(popen, log)


def wait_until(
    predicate: Callable[[], T],
    timeout: float,
    what: str,
    *,
    every: float = 0.05,
    ignore: tuple[type[Exception], ...] = (),
) -> T:
    """Call `predicate` until it returns something true, and return that. Exceptions in `ignore` count as false.

    It is called every `every` seconds, less often over time, to leave the processor to other processes.
    `timeout` is in seconds on an idle machine.
    """
    begun = time.monotonic()
    last: object = None
    while True:
        try:
            last = value = predicate()
            if value:
                return value
        except ignore as error:
            last = error
        if (waited := time.monotonic() - begun) >= timeout * busyness():
            raise TimeoutError(f"not within {timeout:g} s: {what} (last seen: {last!r})")
        time.sleep(_pause(every, waited))


async def wait_until_async(
    predicate: Callable[[], object],
    timeout: float,  # noqa: ASYNC109
    what: str,
    *,
    every: float = 0.05,
    ignore: tuple[type[Exception], ...] = (),
) -> Any:
    """The same without blocking the event loop; `predicate` may be a coroutine function."""
    begun = time.monotonic()
    last: object = None
    while True:
        try:
            result = predicate()
            last = value = await result if inspect.isawaitable(result) else result
            if value:
                return value
        except ignore as error:
            last = error
        if (waited := time.monotonic() - begun) >= timeout * busyness():
            raise TimeoutError(f"not within {timeout:g} s: {what} (last seen: {last!r})")
        await asyncio.sleep(_pause(every, waited))


def _pause(every: float, waited: float) -> float:
    return max(every, min(LONGEST_PAUSE, waited / 20))
