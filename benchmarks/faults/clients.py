"""Who asks `serve`: clients that take what they are told, impatient ones, slow ones, and some that never finish."""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

import httpx

_IMPATIENT = 0.25  # seconds after which half of the clients come back, whatever they were told
_MOST_SECONDS = 120.0  # for an answer
_PROMISED = 100_000  # bytes of a body that does not come as a whole
_ANSWERS = 40  # that are asked for and not read: of 0.8 MB each, more than the system keeps
_UNREAD = "/samples/astronaut.png"
_ESTABLISHED = 1  # of the states of a connection in Linux
_LOOK = 0.5  # seconds between two looks at connections that the server should close
_AT_A_TIME = 100  # connections that are opened together: more than a socket's backlog would wait for each other


@dataclass(frozen=True)
class Answer:
    """What came of a request.

    Args:
        status: Of HTTP; 0: there was no answer.
        seconds: Until it was there.
        failure: What is not as promised; empty: nothing.
        retry_after: When to come back, in seconds; 0: it does not say.
    """

    status: int
    seconds: float
    failure: str
    retry_after: int = 0


Wanted = Sequence[dict[str, Any]]  # what is found on each photograph


async def ask(client: httpx.AsyncClient, address: str, photograph: bytes, wanted: dict[str, Any] | None) -> Answer:
    """Send a photograph, and judge the answer.

    Args:
        client: Whose connections are used.
        address: Of `detect`.
        photograph: A file.
        wanted: The only answer that is right; None: any.
    """
    started = time.perf_counter()
    try:
        response = await client.post(address, content=photograph)
    except httpx.HTTPError as error:
        return Answer(0, time.perf_counter() - started, f"no answer: {type(error).__name__} {error}")
    seconds, told = time.perf_counter() - started, response.headers.get("retry-after", "")
    retry_after = int(told) if told.isdecimal() else 0
    return Answer(response.status_code, seconds, _fault(response, wanted, retry_after), retry_after)


def _fault(response: httpx.Response, wanted: dict[str, Any] | None, retry_after: int) -> str:
    """Return what is wrong with an answer; an empty text if nothing is."""
    if response.status_code == 200:
        return "" if wanted is None or found_in(response) == wanted else "other detections than of a single request"
    if response.status_code == 429:
        return "" if retry_after >= 1 else "a refusal that does not say when to come back"
    return f"status {response.status_code}: {response.text[:200]}"


def found_in(response: httpx.Response) -> dict[str, Any]:
    """Return an answer without the time that it took."""
    return {name: value for name, value in response.json().items() if name != "seconds"}


def ask_alone(address: str, photograph: bytes) -> httpx.Response:
    """Return the answer to a request when nobody else asks.

    Raises:
        httpx.HTTPError: There is none, or it is a refusal.
    """
    response = httpx.post(address, content=photograph, timeout=_MOST_SECONDS, trust_env=False)
    return response.raise_for_status()


def open_client() -> httpx.AsyncClient:
    """Return a client that opens a connection for each request.

    One that is kept might be closed by the server in the moment in which it is used again.
    """
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    return httpx.AsyncClient(limits=limits, timeout=_MOST_SECONDS, trust_env=False)


async def many_clients(
    address: str, photographs: Sequence[bytes], wanted: Wanted, clients: int, seconds: float
) -> list[Answer]:
    """Return the answers to clients each of which asks for one photograph after the other.

    Half of them come back when they were told to, the others at once, so that the queue is always full.

    Args:
        address: Of `detect`.
        photographs: Files, sent in random order.
        wanted: What is found on each.
        clients: How many ask at a time.
        seconds: For which new requests are sent.
    """
    until, answers = time.monotonic() + seconds, list[Answer]()

    async def one(number: int, http: httpx.AsyncClient) -> None:
        rng = random.Random(number)
        while time.monotonic() < until:
            which = rng.randrange(len(photographs))
            answer = await ask(http, address, photographs[which], wanted[which])
            answers.append(answer)
            if answer.status != 200:
                wait = answer.retry_after if number % 2 else _IMPATIENT
                await asyncio.sleep(min(wait or 1.0, max(until - time.monotonic(), 0.0)))

    async with open_client() as http:
        await asyncio.gather(*(one(number, http) for number in range(clients)))
    return answers


Way = Callable[[asyncio.StreamWriter], Coroutine[Any, Any, None]]


async def _says_nothing(writer: asyncio.StreamWriter) -> None:
    """Connect, and nothing else."""


async def _half_a_head(writer: asyncio.StreamWriter) -> None:
    """Begin a request, and never end its head."""
    writer.write(b"POST /detect HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Half")
    await writer.drain()


async def _half_a_body(writer: asyncio.StreamWriter) -> None:
    """Send half of a body."""
    writer.write(_head() + bytes(_PROMISED // 2))
    await writer.drain()


async def _a_byte_a_second(writer: asyncio.StreamWriter) -> None:
    """Send a body at a byte a second."""
    writer.write(_head())
    while not writer.is_closing():
        writer.write(b"\xff")
        await writer.drain()
        await asyncio.sleep(1.0)


async def _reads_nothing(writer: asyncio.StreamWriter) -> None:
    """Ask for a photograph of the page again and again, and read no answer."""
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    writer.write(f"GET {_UNREAD} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode() * _ANSWERS)
    await writer.drain()


def _head() -> bytes:
    return f"POST /detect HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {_PROMISED}\r\n\r\n".encode()


WAYS: Final[dict[str, Way]] = {
    "slow clients, a byte a second": _a_byte_a_second,
    "half-sent bodies": _half_a_body,
    "half-sent heads": _half_a_head,
    "answers that are not read": _reads_nothing,
    "idle connections": _says_nothing,
}


def _is_open(writer: asyncio.StreamWriter) -> bool:
    """Return whether the other side has not closed a connection, as the system knows it. Linux only."""
    try:
        state = writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
    except OSError:  # it is closed here too
        return False
    return bool(state[0] == _ESTABLISHED)


class Crowd:
    """Connections that are held.

    Args:
        host: And port.
        way: What each does, one of `WAYS`.
        count: How many.
    """

    def __init__(self, host: str, way: str, count: int) -> None:
        self._host, _, port = host.partition(":")
        self._port, self._way, self._count = int(port), WAYS[way], count
        self._held: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def come(self) -> None:
        """Connect, and begin.

        Raises:
            OSError: A connection is refused.
        """
        for start in range(0, self._count, _AT_A_TIME):
            some = range(min(_AT_A_TIME, self._count - start))
            self._held += await asyncio.gather(*(asyncio.open_connection(self._host, self._port) for _ in some))
        self._tasks = [asyncio.create_task(self._go(writer)) for _, writer in self._held]
        await asyncio.sleep(0.5)

    async def _go(self, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            await self._way(writer)

    async def left(self, seconds: float) -> int:
        """Return how many connections the server has not closed so many seconds from now. Nothing is read of them."""
        until = time.monotonic() + seconds
        while (count := sum(_is_open(writer) for _, writer in self._held)) and time.monotonic() < until:
            await asyncio.sleep(_LOOK)
        return count

    async def go(self) -> None:
        """Break off, without a word."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for _, writer in self._held:
            writer.transport.abort()
        await asyncio.sleep(0.5)


@asynccontextmanager
async def crowd(host: str, way: str, count: int) -> AsyncIterator[Crowd]:
    """Give connections that are held for the time of a `with` statement."""
    held = Crowd(host, way, count)
    try:
        await held.come()
        yield held
    finally:
        await held.go()
