"""The HTTP service: requests for scores, new behaviours, health and figures, as an ASGI application.

    POST /score    {"user": 7, "candidates": [12, 99], "time": 1700000000} -> {"scores": [.1, .3], ...}
    POST /events   {"events": [{"user": 7, "item": 12, "time": 1700000000}]} -> {"taken": 1, ...}
    GET  /health   GET /metrics

Bodies are bounded and must be declared as JSON, which a page of another site cannot have a browser send. A refusal is
{"error": what is wrong and what to send}.
"""

import asyncio
import collections
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from jaxrec.parallel.peak_memory import peak_mb
from jaxrec.serving.batching import Batcher, OverloadError
from jaxrec.serving.behaviour_index import BehaviourIndex
from jaxrec.serving.messages import RefusalError, read_event_times, read_events, read_score
from jaxrec.serving.scorer import RequestScorer

PERCENTILES = (50, 90, 99)


class Latencies:
    """The latest durations of one kind of call."""

    def __init__(self, window: int = 4096):
        """Begins empty; `window` of the latest calls count."""
        self._seconds, self._count, self._lock = np.zeros(window), 0, threading.Lock()

    def add(self, seconds: float) -> None:
        """Counts one call."""
        with self._lock:
            self._seconds[self._count % len(self._seconds)] = seconds
            self._count += 1

    def summary(self) -> dict[str, float]:
        """{'count': calls ever}, and the `percentiles` of those in the window."""
        with self._lock:
            count, seconds = self._count, self._seconds[: self._count].copy()
        return {'count': count, **percentiles(seconds)}


def percentiles(seconds: np.ndarray) -> dict[str, float]:
    """Percentiles of durations, each the least that so many per cent do not exceed.

    Args:
      seconds: float [n].

    Returns:
      {'p50_ms', 'p90_ms', 'p99_ms', 'max_ms'} in milliseconds; nothing for n = 0.
    """
    if not len(seconds):
        return {}
    found = {f'p{p}_ms': round(float(np.percentile(seconds, p, method='inverted_cdf')) * 1e3, 3) for p in PERCENTILES}
    return found | {'max_ms': round(float(seconds.max()) * 1e3, 3)}


MAX_BYTES = 1 << 16  # 400 candidates of 20 digits are 9 kB
MAX_EVENTS = 256
KINDS = ('score', 'events')


class Service:
    """One model, one index, one queue; `index` is closed when the service stops, `step` is the checkpoint's."""

    def __init__(
        self,
        scorer: RequestScorer,
        step: int,
        *,
        wait_s: float = 0.0,
        waiting: int = 256,
        max_bytes: int = MAX_BYTES,
        max_ahead: int | None = None,
    ):
        """Sets the limits: `wait_s` and `waiting` of the `Batcher`, bytes of a body, and `max_ahead` of event times."""
        self.index: BehaviourIndex = scorer.assembler.index
        self._times = read_event_times(self.index, max_ahead)
        self.step, self._scorer, self._max_bytes = step, scorer, max_bytes
        sizes = scorer.assembler.sizes
        self._most = max(sizes.candidates)
        self._batcher = Batcher(scorer, max(sizes.requests), wait_s, waiting)
        self._latencies = {kind: Latencies() for kind in KINDS}
        self._answers: collections.Counter[str] = collections.Counter()
        self._started = time.time()

    def app(self) -> Starlette:
        """The ASGI application; its lifespan runs the queue and closes the index."""
        return Starlette(
            routes=[
                Route('/score', self._timed('score', self._score), methods=['POST']),
                Route('/events', self._timed('events', self._events), methods=['POST']),
                Route('/health', self._health),
                Route('/metrics', self._metrics),
            ],
            exception_handlers={HTTPException: _as_json},
            lifespan=self._lifespan,
        )

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        try:
            async with self._batcher:
                yield
        finally:
            self.index.close()

    def _timed(
        self, kind: str, answer: Callable[[bytes], Awaitable[dict[str, Any]]]
    ) -> Callable[[HttpRequest], Awaitable[Response]]:
        async def endpoint(http: HttpRequest) -> Response:
            start = time.perf_counter()
            try:
                response: Response = JSONResponse(await answer(await self._body(http)))
            except RefusalError as refused:
                response = JSONResponse({'error': str(refused)}, refused.status)
            except OverloadError as overload:
                response = JSONResponse({'error': str(overload)}, 503, {'Retry-After': '1'})
            except ClientDisconnect:
                response = Response(status_code=499)  # nobody reads it
            except Exception:  # counted here; the server answers 500 and logs where it came from
                self._answers[f'{kind} 500'] += 1
                raise
            if response.status_code == 200:
                self._latencies[kind].add(time.perf_counter() - start)
            self._answers[f'{kind} {response.status_code}'] += 1
            return response

        return endpoint

    async def _body(self, http: HttpRequest) -> bytes:
        kind = http.headers.get('content-type', '').partition(';')[0].strip().lower()
        if kind != 'application/json':
            raise RefusalError(415, f'the body is declared as {kind or "nothing"}: send Content-Type: application/json')
        body, refusal = (b'', RefusalError(413, f'the body is larger than {self._max_bytes} bytes: send less at once'))
        declared = http.headers.get('content-length', '0')
        if not declared.isdigit() or int(declared) > self._max_bytes:
            raise refusal
        async for chunk in http.stream():  # a chunked body declares nothing
            body += chunk
            if len(body) > self._max_bytes:
                raise refusal
        return body

    async def _score(self, body: bytes) -> dict[str, Any]:
        asked = read_score(body, self.index.log, self._most)
        scores = await self._batcher.submit(asked.request)
        known = {'known_user': asked.known_user, 'unknown_candidates': asked.unknown}
        return {'scores': scores.tolist(), 'step': self.step, **known}

    async def _events(self, body: bytes) -> dict[str, Any]:
        index = self.index
        read = read_events(body, index.log, index.columns, MAX_EVENTS, self._times)
        users, columns, unknown = read
        # The flush to the disk takes milliseconds, in which others are to be answered.
        behaviours = await asyncio.to_thread(index.append, users, columns)
        return {'taken': len(users), 'unknown_values': unknown, 'behaviours': behaviours}

    async def _health(self, _: HttpRequest) -> Response:
        index, behaviours = self.index, {'behaviours': len(self.index), 'in_journal': self.index.added}
        found = {'status': 'ok', 'step': self.step, 'log': index.log.manifest['fingerprint'], **behaviours}
        found |= {'torn_bytes': index.torn, 'waiting': self._batcher.waiting}
        return JSONResponse(found | {'uptime_s': round(time.time() - self._started, 1)})

    async def _metrics(self, _: HttpRequest) -> Response:
        found = {
            'latency': {kind: latencies.summary() for kind, latencies in self._latencies.items()},
            'answers': dict(sorted(self._answers.items())),
            'batch_sizes': {str(size): n for size, n in sorted(self._batcher.sizes.items())},
        }
        return JSONResponse(found | {'programs': self._scorer.traces, 'peak_rss_mb': round(peak_mb())})


async def _as_json(_: HttpRequest, error: Exception) -> Response:
    """Unknown paths and methods, in the form of all other refusals."""
    assert isinstance(error, HTTPException)
    remedy = 'POST /score or /events, GET /health or /metrics'
    return JSONResponse({'error': f'{error.detail}: {remedy}'}, error.status_code, error.headers)
