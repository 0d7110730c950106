"""Concurrent requests in batches: what waits while a batch is computed becomes the next one."""

import asyncio
import collections
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, TypeVar

T = TypeVar('T')
R = TypeVar('R')


class OverloadError(Exception):
    """More requests wait than may: the caller should try again later."""


class Batcher(Generic[T, R]):
    """Hands requests to a function of batches, which runs in one thread of its own.

    Attributes:
      sizes: {size of a batch: how many there were}.

    Example:
      async with Batcher(score, most=4) as batcher:
        answer = await batcher.submit(request)
    """

    def __init__(self, work: Callable[[Sequence[T]], Sequence[R]], most: int, wait_s: float = 0.0, waiting: int = 256):
        """Sets the limits; the thread starts with `async with`.

        Args:
          work: a batch of requests -> their answers, in order.
          most: requests a batch, at most.
          wait_s: seconds that a batch that is not full waits for more.
          waiting: requests that may wait; beyond them `submit` refuses.

        Raises:
          ValueError: a limit below 1, or a negative wait.
        """
        if most < 1 or waiting < 1 or wait_s < 0:
            raise ValueError(
                f'batches of {most} of {waiting} waiting requests after {wait_s} s: give counts from 1 on '
                'and no negative wait'
            )
        self._work, self._most, self._wait_s, self._limit = work, most, wait_s, waiting
        self._queue: collections.deque[tuple[T, asyncio.Future[R]]] = collections.deque()
        self.sizes: collections.Counter[int] = collections.Counter()
        self._closing = False

    async def __aenter__(self) -> 'Batcher[T, R]':
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, 'batcher')
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Answers what waits, then ends."""
        self._closing = True
        self._arrived.set()
        await self._task
        self._thread.shutdown()

    @property
    def waiting(self) -> int:
        """Requests that wait for a batch."""
        return len(self._queue)

    async def submit(self, request: T) -> R:
        """Waits for the answer to a request.

        Raises:
          OverloadError: too many requests wait, or the batcher is closing.
          Exception: whatever `work` raised for the batch.
        """
        if self._closing or len(self._queue) >= self._limit:
            why = 'the service is stopping' if self._closing else f'{len(self._queue)} requests wait'
            raise OverloadError(f'{why}: try again in a moment')
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._queue.append((request, future))
        self._arrived.set()
        return await future

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if not self._queue:
                if self._closing:
                    return
                self._arrived.clear()
                await self._arrived.wait()
                continue
            if self._wait_s and len(self._queue) < self._most and not self._closing:
                await asyncio.sleep(self._wait_s)
            taken = [self._queue.popleft() for _ in range(min(self._most, len(self._queue)))]
            batch = [(request, future) for request, future in taken if not future.done()]  # callers may leave
            if batch:
                self.sizes[len(batch)] += 1
                await self._answer(loop, batch)

    async def _answer(self, loop: asyncio.AbstractEventLoop, batch: list[tuple[T, Any]]) -> None:
        try:
            answers = await loop.run_in_executor(self._thread, self._work, [request for request, _ in batch])
        except Exception as error:
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), answer in zip(batch, answers, strict=True):
            if not future.done():
                future.set_result(answer)
