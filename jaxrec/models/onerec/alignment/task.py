"""Preference alignment (OneRec, arXiv 2502.18965, section 3.4, eq. 10, and Algorithm 2).

The loss is next-token prediction on a batch plus lambda times the preference losses of the batch's pairs, summed and
divided by B: a request without a pair adds none. The frozen model's log-probabilities are part of the batch, not of the
step.

Algorithm 2 gives each request of a batch a pair with probability r. Here a batch has r B pairs on average over steps,
and place for P = ceil(r B), in evenly spaced rows of arrays as long as the batch, so that they are cut over devices and
processes as the batch is. Pairs are of other requests than their row's.

B batch, n history items, m session items, P pairs of a step at most, N losers.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxrec.data.sources.batch_source import Batch as HostBatch
from jaxrec.data.sources.session_source import SessionSource
from jaxrec.models.onerec.alignment.pairs import Mined
from jaxrec.models.onerec.task import SessionTask, codes_of
from jaxrec.ops.generation.preference import KINDS, preference_loss
from jaxrec.parallel.mesh import Rules
from jaxrec.training.task import Batch, Evaluator, Metrics, Rows, WithoutTables

IPA, NTP = 'ipa', 'ntp'  # DPO against a reference that moves; no preferences at all, for a control
METHODS = (*KINDS, IPA, NTP)
ITERATIONS = 3  # T of IPA by default; it is not given
_KEYS = ('pair/history/item', 'pair/history/length', 'pair/sessions', 'pair/valid', 'pair/reference')


@dataclasses.dataclass(frozen=True)
class Preference:
    """Options of the preference loss."""

    method: str = IPA  # one of `METHODS`; 'ipa' is DPO in several iterations, 'ntp' learns no preferences
    beta: float = 0.1  # how strongly distance from the reference is penalised
    weight: float = 100.0  # lambda; only a share r of requests has a pair: at r = 1%, 100 weighs pairs like sessions
    noise: float = 0.1  # of `cdpo` and `rdpo`
    likelihood: float = 1.0  # of `cpo`
    margin: float = 0.5  # of `simpo`

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f'align.method = {self.method!r} does not exist; choose one of {METHODS}')
        if not self.beta > 0 or self.weight < 0 or not 0 <= self.noise < 0.5:
            raise ValueError(
                f'align.beta = {self.beta}, weight = {self.weight}, noise = {self.noise}: beta is above 0, '
                'weight at least 0, noise from 0 to below a half'
            )

    @property
    def kind(self) -> str:
        """The loss, one of `KINDS`."""
        return 'dpo' if self.method == IPA else self.method

    @property
    def learns(self) -> bool:
        """Whether the loss reads pairs."""
        return self.method != NTP and self.weight > 0


@dataclasses.dataclass(frozen=True, eq=False)
class AlignTask(WithoutTables):
    """A generator that learns from sessions and pairs; implements `training.task.Task`."""

    base: SessionTask  # the generator, whose parameters and state these are
    preference: Preference  # the loss of pairs
    pairs: int  # P
    every: int  # rows from one pair to the next, B // P

    @property
    def rules(self) -> Rules:
        """The generator's."""
        return self.base.rules

    def on(self, mesh: Mesh) -> 'AlignTask':
        """Returns the same task on a mesh."""
        return dataclasses.replace(self, base=self.base.on(mesh))

    def init(self, rng: jax.Array, batch: Batch) -> tuple[Any, Any]:
        """Draws the generator's parameters and state."""
        return self.base.init(rng, batch)

    def loss(
        self, params: Any, model_state: Any, rows: Rows, batch: Batch, rng: jax.Array
    ) -> tuple[jax.Array, tuple[Metrics, Any]]:
        """Adds lambda times the preference losses of the pairs that count, over B, to the generator's loss.

        Args:
          params, model_state, rows, rng: the generator's. In pairs nothing is dropped, as in the reference's
            log-probabilities; router biases follow the loads of the batch alone.
          batch: the generator's, and what `PairSource` adds.

        Returns:
          loss float32 [], and with the generator's metrics 'preference', the pairs' mean loss; 'gain', the mean
          log-probability that winners gained over losers since the reference; 'right', the share of pairs with a
          positive gain; all 0 in a step without pairs, and 'paired' 1 in the others: divide means over steps by its
          mean.

        Raises:
          ValueError: a batch without pairs.
        """
        loss, (metrics, state) = self.base.loss(params, model_state, rows, batch, rng)
        if not self.preference.learns:
            return loss, (metrics, state)
        pairs = self._pairs(batch)
        sessions, reference = pairs['pair/sessions'], pairs['pair/reference']
        asked = {key.removeprefix('pair/'): x for key, x in pairs.items() if key.startswith('pair/history/')}
        found = self.base.session_log_probs(params, model_state, asked, sessions)  # [P, 1 + N]
        coded = (codes_of(model_state, sessions) >= 0).all(-1)
        tokens = jnp.sum(coded, -1) * len(self.base.network.levels)
        total, told = pair_loss(self.preference, found, reference, pairs['pair/valid'], tokens)
        # Rows that pad a batch for the devices are no part of B.
        requests = jnp.sum(batch['valid'].reshape(len(batch['valid']), -1).any(1))
        share = total / jnp.maximum(requests, 1)
        return loss + self.preference.weight * share, (metrics | told, state)

    def predict(
        self, params: Any, model_state: Any, rows: Rows, batch: Batch, rng: jax.Array | None = None
    ) -> dict[str, jax.Array]:
        """Returns what the generator predicts."""
        return self.base.predict(params, model_state, rows, batch, rng)

    def evaluator(self) -> Evaluator:
        """The generator's."""
        return self.base.evaluator()

    def _pairs(self, batch: Batch) -> dict[str, jax.Array]:
        """The rows that hold pairs."""
        if missing := [key for key in _KEYS if key not in batch]:
            raise ValueError(
                f'the batch lacks {missing[0]!r}: alignment by {self.preference.method!r} reads the batches '
                'of a `PairSource`'
            )
        return {key: batch[key][:: self.every][: self.pairs] for key in _KEYS}


def pair_loss(
    preference: Preference, found: jax.Array, reference: jax.Array, valid: jax.Array, tokens: jax.Array
) -> tuple[jax.Array, Metrics]:
    """Sums the preference losses of the requests whose pairs count: float32 [], and `AlignTask.loss`'s metrics.

    Log-probabilities of winner and losers under the learning (`found`) and the frozen model are float [P, 1 + N],
    `valid` is bool [P, N], `tokens` int [P, 1 + N] of each session.
    """
    p = preference
    losses = preference_loss(
        p.kind, found[:, 0], found[:, 1:], reference[:, 0], reference[:, 1:], beta=p.beta, valid=valid,
        lengths=(tokens[:, 0], tokens[:, 1:]), noise=p.noise, likelihood=p.likelihood, margin=p.margin,
    )  # fmt: skip
    total, requests = jnp.sum(losses), jnp.sum(valid.any(-1))
    gained = found - reference
    gain, count = gained[:, :1] - gained[:, 1:], jnp.maximum(jnp.sum(valid), 1)
    told = {
        'preference': total / jnp.maximum(requests, 1),
        'gain': jnp.sum(gain * valid) / count,
        'right': jnp.sum((gain > 0) * valid) / count,
        'paired': (requests > 0).astype(jnp.float32),
    }
    return total, told


def pairs_a_step(ratio: float, batch_size: int) -> int:
    """P = ceil(r B), the most pairs of a step; a ValueError refuses a ratio that is no share of the batch."""
    if not 0 < ratio <= 1:
        raise ValueError(f'align.ratio = {ratio}: give the share of requests that are mined, in (0, 1]')
    return int(np.ceil(round(ratio * batch_size, 9)))


def steps_an_iteration(steps: float, method: str, iterations: int) -> int:
    """Returns the steps of an iteration, at least 1; all methods take as many steps in total by default."""
    rounds = iterations if method == IPA else ITERATIONS
    whole = rounds * max(1, round(steps / rounds))
    return max(1, round(whole / iterations))


def pairs_of_steps(share: float, first: int, stop: int) -> int:
    """Counts the pairs of steps first to stop - 1 of an alignment, with r B = `share` pairs a step on average."""
    before = lambda step: int(np.floor(round(step * share, 6)))
    return before(stop) - before(first)


class PairSource:
    """The batches `first` to `stop` - 1 of a `SessionSource`, with the pairs of an iteration.

    Batch i, counted over the alignment, is a function of i alone, as in `BatchSource`: its pairs are the next of those
    that count, and begin again after the last. 'pair/history/item' int32 [B, n] and 'pair/history/length' [B] are the
    user's history, 'pair/sessions' int32 [B, 1 + N, m] winner and losers, 'pair/valid' bool [B, N] the pairs that count
    and 'pair/reference' float32 [B, 1 + N] the frozen model's log-probabilities; all 0 in the rows between.
    """

    def __init__(self, base: SessionSource, mined: Mined, pairs: float, first: int, stop: int):
        """Joins sessions and a pair log with r B `pairs` a step on average; a ValueError refuses one without pairs."""
        self._mined = mined[mined.valid.any(1)]
        if not len(self._mined):
            raise ValueError(
                f'none of {len(mined)} mined requests gave a pair, their sessions are rewarded alike: mine '
                'more requests (align.ratio), more beams, or train the reward model for longer'
            )
        self.base, self.first, self.stop, self._share = base, first, stop, pairs
        self._most = int(np.ceil(round(pairs, 9)))  # P

    def __len__(self) -> int:
        return self.stop

    def __getitem__(self, index: int) -> HostBatch:
        index = int(index)
        if not self.first <= index < self.stop:
            raise IndexError(f'batch {index} is not in {self.first}..{self.stop - 1}, those of the iteration')
        batch, base = self.base[index], self.base
        local = base.batch_size // base.process_count
        begin = pairs_of_steps(self._share, self.first, index)
        end = begin + pairs_of_steps(self._share, index, index + 1)
        rows = np.arange(end - begin) * (base.batch_size // self._most) - base.process_index * local
        here = (rows >= 0) & (rows < local)
        slots = np.arange(begin, end)[here] % len(self._mined)
        mined = self._mined[slots]
        sessions = np.concatenate([mined.winner[:, None], mined.losers], 1)
        liked = {key: x for key, x in base.at(mined.index).items() if key.startswith('history/')}
        added = {f'pair/{key}': liked[key] for key in ('history/item', 'history/length')}
        added |= {'pair/sessions': sessions, 'pair/valid': mined.valid, 'pair/reference': mined.reference}
        for key, values in added.items():
            whole = np.zeros((local, *values.shape[1:]), values.dtype)
            whole[rows[here]] = values
            batch[key] = whole
        return batch
