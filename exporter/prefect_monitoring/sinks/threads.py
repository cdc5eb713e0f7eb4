"""Runs calls that may hang, such as those of AWS, in threads that do not block the process's end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

Answer = TypeVar("Answer")


async def in_daemon_thread(name: str, work: Callable[..., Answer], *args: Any) -> Answer:
    """Returns or raises what `work` does. Unlike asyncio's threads, one that hangs does not keep the process alive."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Answer] = loop.create_future()

    def run() -> None:
        try:
            settle = partial(future.set_result, work(*args))
        except Exception as error:  # noqa: BLE001 raised in the caller
            settle = partial(future.set_exception, error)
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(lambda: None if future.done() else settle())

    threading.Thread(target=run, name=name, daemon=True).start()
    return await future
