"""The address to serve on."""

from __future__ import annotations

import socket

from prefect_monitoring.config.types import host_and_port


class ListenError(Exception):
    """The address to serve on cannot be used."""


def bind(listen: str, option: str = "--listen") -> socket.socket:
    """A listening socket on HOST:PORT, the value of `option`. Raises ListenError."""
    host, port = host_and_port(listen)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        raise ListenError(
            f"Cannot listen on {listen} ({error.strerror}): stop what uses it, or give another address with {option}"
        ) from error
    # asyncio does this only for its own sockets. Without it, the second of two small pieces waits 40 ms for an
    # acknowledgement of the first. Connections inherit it.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
