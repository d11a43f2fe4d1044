"""Connections on which no request comes, or no answer is read, are closed: who holds many of them keeps nobody out.

uvicorn waits for the head of a connection's first request without end, and its `limit_concurrency` counts connections
that say nothing: 64 of them, and every request is refused. Here connections are not counted; they end by themselves.
Nor does it ever give up an answer that is not read: closing a connection waits until the last byte of it is gone.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from typing import Final

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS: Final = 10.0
"""A connection without a request in work is closed after so long, or twice as long."""

_STALLED_LOOKS: Final = 3
"""An answer of which nothing was read for so many times `HEAD_SECONDS` is given up: a slow network takes megabytes."""

_AT_ONCE: Final = struct.pack("ii", 1, 0)  # SO_LINGER: what was not sent is thrown away, by the system too
_OPEN_FILES: Final = 65_536
_IN_WORK: Final = object()  # None stands for a connection on which no request ever came


class PunctualProtocol(H11Protocol):
    """HTTP/1.1 as uvicorn speaks it, on connections that are closed when the head of a request does not come.

    That holds between two requests too, and for what is left of a body after its request was refused, if it comes so
    slowly that the connection never seems idle. An answer that nobody reads ends a connection as well.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to look now and then."""
        super().connection_made(transport)
        self._waited_after: object = _IN_WORK  # the last request, if none was in work at the last look
        self._unread = self._stalled = 0  # bytes of answers at the last look, and how many looks they are as many
        self._next_look = self.loop.call_later(HEAD_SECONDS, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop looking."""
        self._next_look.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        """Close the connection if no request is in work, and none was begun since the last look found the same.

        One whose answer is still being read is left alone, and broken off when it is not.
        """
        unread = self.transport.get_write_buffer_size()
        self._stalled = self._stalled + 1 if 0 < self._unread <= unread else 0
        self._unread = unread
        if self._stalled >= _STALLED_LOOKS:
            self._break_off()
            return
        is_waiting = self.cycle is None or self.cycle.response_complete
        if is_waiting and not unread and self._waited_after is self.cycle:
            self.transport.close()
            return
        self._waited_after = self.cycle if is_waiting else _IN_WORK
        self._next_look = self.loop.call_later(HEAD_SECONDS, self._look)

    def _break_off(self) -> None:
        """End the connection and forget what was to be sent; `close` would wait until it is read."""
        with suppress(OSError):
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        self.transport.abort()


def allow_many_connections() -> None:
    """Let this process have as many open files as it may: each connection is one, and shells often give 1024."""
    with suppress(ImportError, OSError, ValueError):  # there is no such limit on Windows
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = _OPEN_FILES if most == resource.RLIM_INFINITY else min(most, _OPEN_FILES)
        if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
