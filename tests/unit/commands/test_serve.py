"""The socket that is served on."""

from __future__ import annotations

import socket

import pytest

from prefect_monitoring.commands.serve import ListenError, bind


def test_small_answers_do_not_wait_for_the_reader_s_acknowledgement() -> None:
    with bind("127.0.0.1:0") as listener, socket.create_connection(listener.getsockname()):
        connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_port_that_is_taken_is_told() -> None:
    with bind("127.0.0.1:0") as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ListenError, match=f"Cannot listen on {address} "):
            bind(address)
