"""Connections on which no request comes are closed, so that whoever holds many of them keeps nobody out.

uvicorn waits for the head of a connection's first request without end, and its `limit_concurrency` counts connections
that say nothing: 64 of them, and every request is refused. Here connections are not counted; they end by themselves.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS: Final = 10.0
"""A connection without a request in work is closed after so long, or twice as long."""

_OPEN_FILES: Final = 65_536
_IN_WORK: Final = object()  # None stands for a connection on which no request ever came


class PunctualProtocol(H11Protocol):
    """HTTP/1.1 as uvicorn speaks it, on connections that are closed when the head of a request does not come.

    That holds between two requests too, and for what is left of a body after its request was refused, if it comes so
    slowly that the connection never seems idle.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to look now and then."""
        super().connection_made(transport)
        self._waited_after: object = _IN_WORK  # the last request, if none was in work at the last look
        self._next_look = self.loop.call_later(HEAD_SECONDS, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop looking."""
        self._next_look.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        """Close the connection if no request is in work, and none was begun since the last look found the same."""
        is_waiting = self.cycle is None or self.cycle.response_complete
        if is_waiting and self._waited_after is self.cycle:
            self.transport.close()
            return
        self._waited_after = self.cycle if is_waiting else _IN_WORK
        self._next_look = self.loop.call_later(HEAD_SECONDS, self._look)


def allow_many_connections() -> None:
    """Let this process have as many open files as it may: each connection is one, and shells often give 1024."""
    with suppress(ImportError, OSError, ValueError):  # there is no such limit on Windows
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = _OPEN_FILES if most == resource.RLIM_INFINITY else min(most, _OPEN_FILES)
        if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))
