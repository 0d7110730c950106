"""The clients of the load test: requests at even distances, and new behaviours at the same time.

Letters: n answered requests.
"""

import asyncio
import contextlib
import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

HEAD = 'POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n'
EVENTS_A_POST = 256  # those that are due at once go together, up to so many
LOST = OSError, asyncio.IncompleteReadError


@dataclasses.dataclass(frozen=True)
class Answered:
    """What one mode's clients saw: latencies in s, float [n], requests without an answer of status 200, seconds of all.

    New behaviours are counted by whether they were acknowledged.
    """

    seconds: np.ndarray
    failed: int
    wall_s: float
    events_taken: int
    events_failed: int


def post(path: str, content: Any) -> bytes:
    """A whole HTTP request of a JSON body."""
    body = json.dumps(content).encode()
    return HEAD.format(path, len(body)).encode() + body


class Connection:
    """A connection that is opened when it is needed, and again where the server closed it meanwhile."""

    def __init__(self, port: int):
        """Opens nothing yet; the port is on this machine."""
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes) -> tuple[bytes, bytes]:
        """Sends a complete HTTP request, returns head and body of its answer, or raises one of `LOST`."""
        if self._streams is None or self._streams[0].at_eof() or self._streams[1].is_closing():
            self.close()
            self._streams = await asyncio.open_connection('127.0.0.1', self._port)
        reader, writer = self._streams
        writer.write(request)
        head = await reader.readuntil(b'\r\n\r\n')
        size = int(head.lower().partition(b'content-length:')[2].partition(b'\r\n')[0])
        return head, await reader.readexactly(size)

    def close(self) -> None:
        """Closes it if it is open."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def load(
    port: int,
    requests: Sequence[bytes],
    rate: float,
    clients: int,
    events: Sequence[Mapping[str, Any]] = (),
    events_rate: float = 0.0,
) -> Answered:
    """Sends the requests from all clients, and events until the last of them has ended.

    Rates are a second, over all clients; a `rate` of 0 sends the next request as soon as an answer has come. New
    behaviours are sent in turn from one more connection; an `events_rate` of 0 sends none.
    """
    seconds, begin, ended = [], time.perf_counter(), asyncio.Event()

    async def client(share: Sequence[tuple[int, bytes]]) -> None:
        connection = Connection(port)
        with contextlib.closing(connection), contextlib.suppress(*LOST):
            for number, request in share:
                due = begin + number / rate if rate else time.perf_counter()
                await asyncio.sleep(max(0, due - time.perf_counter()))
                head, answer = await connection.ask(request)
                taken = time.perf_counter() - due
                if head.startswith(b'HTTP/1.1 200') and answer.startswith(b'{"scores":['):
                    seconds.append(taken)

    numbered = list(enumerate(requests))
    beside = asyncio.create_task(_send_events(port, events if events_rate else (), events_rate, ended))
    try:
        await asyncio.gather(*(client(numbered[n::clients]) for n in range(clients)))
    finally:
        ended.set()
    wall_s, sent = time.perf_counter() - begin, await beside
    return Answered(np.asarray(seconds), len(requests) - len(seconds), wall_s, *sent)


async def _send_events(
    port: int, events: Sequence[Mapping[str, Any]], rate: float, ended: asyncio.Event
) -> tuple[int, int]:
    """Sends events at even distances; how many were taken, and how many were not."""
    connection, begin, sent, taken = Connection(port), time.perf_counter(), 0, 0
    with contextlib.closing(connection):
        while events and not ended.is_set():
            wait_s = begin + sent / rate - time.perf_counter()
            if wait_s > 0:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(ended.wait(), wait_s)
                continue
            count = min(int(-wait_s * rate) + 1, EVENTS_A_POST)
            now = [events[n % len(events)] for n in range(sent, sent + count)]
            sent += count
            try:
                head, _ = await connection.ask(post('/events', {'events': now}))
            except LOST:
                connection.close()
                continue
            taken += count if head.startswith(b'HTTP/1.1 200') else 0
    return taken, sent - taken
