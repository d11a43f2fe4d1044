"""Connections that say nothing, half of it or do not read are closed; those with a request in work are not."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from inception_rcnn.detector.server.admission import Admission, FullError

uvicorn = pytest.importorskip("uvicorn", reason="no uvicorn here (pip install -e '.[dev]')")
connections = pytest.importorskip("inception_rcnn.detector.server.connections")

_LOOK = 0.5  # seconds between two looks
_LONG = 16_000_000  # bytes, more than the system keeps of an answer
_HEAD = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


async def slow(scope: Any, receive: Any, send: Any) -> None:
    """An application that takes longer than four looks, but for a long answer."""
    if scope["type"] == "http" and scope["path"] == "/long":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % _LONG)]})
        await send({"type": "http.response.body", "body": bytes(_LONG)})
    elif scope["type"] == "http":
        await asyncio.sleep(5 * _LOOK)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await send({"type": "http.response.body", "body": b"done"})


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """That of a server."""
    monkeypatch.setattr(connections, "HEAD_SECONDS", _LOOK)
    options = {"http": connections.PunctualProtocol, "log_config": None, "lifespan": "off", "ws": "none"}
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(slow, timeout_keep_alive=60, **options))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield listening.getsockname()[1]
        server.should_exit = True
        thread.join(60)


def is_closed(connection: socket.socket, seconds: float) -> bool:
    """Whether the other side closes it in time."""
    connection.settimeout(seconds)
    with contextlib.suppress(TimeoutError):
        return connection.recv(1000) == b""
    return False


@pytest.mark.parametrize("sent", [b"", b"GET / HT", _HEAD[:-2]])
def test_a_connection_without_a_whole_head_is_closed(port: int, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        begun = time.monotonic()
        connection.sendall(sent)
        assert is_closed(connection, 60) and time.monotonic() - begun > 0.9 * _LOOK


def test_a_request_in_work_is_answered_and_a_second_one_too(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.settimeout(60)
        for _ in range(2):
            connection.sendall(_HEAD)
            answer = b""
            while not answer.endswith(b"done"):
                answer += (piece := connection.recv(1000))
                assert piece, f"closed after {answer!r}"
        assert is_closed(connection, 60), "and then no third one came"


def test_an_answer_that_nobody_reads_is_given_up(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.1)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(_HEAD.replace(b"/", b"/long", 1))
        time.sleep(1.0)
        connection.settimeout(60)
        read = 0
        with pytest.raises(ConnectionResetError):
            while piece := connection.recv(1_000_000):
                read += len(piece)
        assert read < _LONG


def test_an_answer_that_is_read_slowly_comes_as_a_whole(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.settimeout(60)
        connection.sendall(_HEAD.replace(b"/", b"/long", 1).replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        begun, read = time.monotonic(), 0
        while piece := connection.recv(400_000):
            read += len(piece)
            time.sleep(0.04)
        assert read > _LONG and time.monotonic() - begun > 2.5 * _LOOK


def test_bytes_are_let_in_up_to_the_limit_and_are_free_again_when_their_request_ends() -> None:
    admission = Admission(4, 100)
    with admission.body() as first, admission.body() as second:
        first(60)
        second(40)
        with pytest.raises(FullError, match="try again in 1 s"):
            second(1)
        with contextlib.suppress(ValueError), admission.body() as third:
            third(0)
            raise ValueError
    with admission.body() as add:
        add(100)
    assert admission.refused == 1
    admission.close()


def test_a_process_may_have_more_files_than_its_shell_gives() -> None:
    resource = pytest.importorskip("resource", reason="there is no such limit here")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(before[0], 512), before[1]))
        connections.allow_many_connections()
        now = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert now[0] == min(now[1], 65_536) if now[1] != resource.RLIM_INFINITY else now[0] == 65_536
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
