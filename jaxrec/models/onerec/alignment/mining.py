"""Mines preferences: beams of the frozen model, rewarded, the best against the worst (Algorithm 2).

n requests of a chunk, K beams, m items, N losers.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxrec.data.sources.session_source import SessionSource
from jaxrec.models.onerec.alignment.pairs import Mined, join, load_chunk, save_chunk
from jaxrec.models.onerec.generate import Written, catalogue, shared_generate
from jaxrec.models.onerec.reward.scorer import Judge
from jaxrec.models.onerec.task import SessionTask
from jaxrec.ops.generation.preference import TIE, choose_pairs
from jaxrec.ops.generation.trie import Trie
from jaxrec.parallel import put_batch


@dataclasses.dataclass(frozen=True, eq=False)
class Miner:
    """Mines pairs; its programs compile once for all iterations."""

    task: SessionTask  # the generator
    source: SessionSource  # of its training part, whose requests are mined
    judge: Judge  # the reward model
    mesh: Any = None  # of the generator
    beams: int = 128  # K
    losers: int = 1  # N; the paper's Algorithm 2 takes one, S-DPO several
    distinct: bool = True  # no item occurs twice in a session
    tie: float = TIE  # a pair whose rewards are no further apart is none
    chunk: int = 32  # n, requests mined at a time

    def __post_init__(self) -> None:
        if self.beams < 2 or not 1 <= self.losers < self.beams or self.chunk < 1:
            raise ValueError(
                f'mining with {self.beams} beams, {self.losers} losers and chunks of {self.chunk}: give 2 '
                'beams or more, 1 loser or more but fewer than beams, and chunks of at least 1 request'
            )

    def mine(
        self, params: Any, model_state: Any, folder: str | Path, key: Mapping[str, Any], drawn: np.ndarray,
        progress: Callable[[int], Any] | None = None,
    ) -> Mined:  # fmt: skip
        """Mines requests by the frozen model, or those that an earlier call left over.

        Args:
          params, model_state: of the frozen model.
          folder: of the pair log.
          key: plain values that decide what is mined; chunks of another key are refused.
          drawn: int64, examples of the source, at least one; the pair log keeps their order.
          progress: called with the number of requests of every chunk.

        Raises:
          ValueError: nothing was drawn, or a chunk that cannot be used.
        """
        if not len(drawn):
            raise ValueError('no request was drawn to be mined: raise align.ratio or align.passes')
        parts, key = [], {**key, 'chunk': self.chunk}
        for number, first in enumerate(range(0, len(drawn), self.chunk)):
            index = drawn[first : first + self.chunk]
            mined = load_chunk(folder, number, key, index)
            if mined is None:
                mined = self.mine_chunk(params, model_state, index)
                save_chunk(folder, number, key, mined)
            parts.append(mined)
            if progress is not None:
                progress(len(index))
        return join(parts)

    def mine_chunk(self, params: Any, model_state: Any, index: np.ndarray) -> Mined:
        """Mines at most a chunk of requests, examples int64 [n] of the source, by the frozen model."""
        padded = np.concatenate([index, np.repeat(index[:1], self.chunk - len(index))])  # one shape for all
        batch = self.source.at(padded)
        sent = put_batch(batch, self.mesh)
        written = self.writer(params, model_state)(batch)
        items, alive = (np.asarray(x)[: self.chunk] for x in (written.items, written.sessions.alive))
        _, rewards = self.judge(batch['host/event'], items)
        repeated = alive & _seen_before(items)
        alive = alive & ~repeated
        pairs = jax.device_get(self._choose(rewards, alive))
        take = lambda x, at: np.take_along_axis(x, at.reshape(*at.shape, *[1] * (x.ndim - 2)), 1)
        places = np.concatenate([pairs.winner[:, None], pairs.losers], 1)  # [n, 1 + N]
        # What says nothing is padding: places of dead beams hold no items.
        says = np.pad(pairs.valid, ((0, 0), (1, 0)), constant_values=True) & alive.any(1)[:, None]
        sessions = np.where(says[..., None], take(items, places), 0).astype(np.int32)
        # Padded as the batch is, where devices do not divide the chunk.
        asked = np.zeros((len(sent['history/length']), *sessions.shape[1:]), np.int32)
        asked[: len(sessions)] = sessions
        reference = self._score(params, model_state, sent, put_batch({'x': asked}, self.mesh)['x'])
        count = alive.sum(1)
        mined = Mined(
            index=padded, winner=sessions[:, 0], losers=sessions[:, 1:], valid=pairs.valid,
            rewards=np.where(says, take(rewards, places), 0).astype(np.float32),
            reference=np.asarray(reference)[: self.chunk],
            mean=((rewards * alive).sum(1) / np.maximum(count, 1)).astype(np.float32),
            found=count.astype(np.int32), repeated=repeated.sum(1).astype(np.int32),
        )  # fmt: skip
        return mined[: len(index)]

    def writer(self, params: Any, model_state: Any) -> Callable[[Mapping[str, Any]], Written]:
        """Returns what generates K sessions for a host batch of histories."""
        return self._writer(params, model_state, self.task.network.session)

    def namer(self, params: Any, model_state: Any) -> Callable[[Mapping[str, Any]], Written]:
        """Returns what generates the K likeliest first items as sessions of one, for the ranking of single items."""
        return self._writer(params, model_state, 1)

    def _writer(self, params: Any, model_state: Any, items: int) -> Callable[[Mapping[str, Any]], Written]:
        generate = shared_generate(self.task.network, self.mesh, self.beams, items, self.distinct, False)

        def write(batch: Mapping[str, np.ndarray]) -> Written:
            sent = put_batch(batch, self.mesh)
            read = {key: x for key, x in sent.items() if key.startswith('history/')}
            return generate(params, model_state, read, self._trie)

        return write

    @functools.cached_property
    def _choose(self) -> Callable[..., Any]:
        return jax.jit(lambda rewards, alive: choose_pairs(rewards, alive, self.losers, tie=self.tie))

    @functools.cached_property
    def _score(self) -> Callable[..., jax.Array]:
        task = self.task if self.mesh is None else self.task.on(self.mesh)
        return jax.jit(task.session_log_probs)

    @functools.cached_property
    def _trie(self) -> Trie:
        trie = catalogue(self.task.codes, self.task.network.levels)
        return trie if self.mesh is None else jax.device_put(trie, jax.NamedSharding(self.mesh, jax.P()))


def _seen_before(items: np.ndarray) -> np.ndarray:
    """Marks, bool [n, K], sessions equal to an earlier one of their request."""
    seen = np.zeros(items.shape[:2], bool)
    for row, sessions in zip(seen, items, strict=True):
        _, first = np.unique(sessions, axis=0, return_index=True)
        row[:] = True
        row[first] = False
    return seen
