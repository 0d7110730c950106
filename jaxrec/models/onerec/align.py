"""Preference alignment (OneRec, arXiv 2502.18965, section 3.4, eq. 10, and Algorithm 2).

The loss is next-token prediction on a batch, as before, and beside it lambda times the mean preference loss
of the batch's pairs. What the frozen model says of them stands in the batch, so it is no part of the step.

Algorithm 2 gives the sampled requests of a batch their pair: r B of B. Here every batch has P = ceil(r B) of
them, which lie in evenly spaced rows of arrays as long as the batch, so that they are cut over devices and
processes as the batch is. Pairs are of other requests than their row's.

B batch, n history items, m session items, P pairs a step, N losers.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxrec.data.batch_source import Batch as HostBatch
from jaxrec.data.sessions.source import SessionSource
from jaxrec.models.onerec.pairs import Mined
from jaxrec.models.onerec.task import CODES, SessionTask
from jaxrec.ops.preference import KINDS, preference_loss
from jaxrec.parallel.mesh import Rules
from jaxrec.training.task import Batch, Evaluator, Metrics, Rows, WithoutTables

IPA, NTP = 'ipa', 'ntp'  # DPO against a reference that moves; no preferences at all, for a control
METHODS = (*KINDS, IPA, NTP)
_KEYS = ('pair/history/item', 'pair/history/length', 'pair/sessions', 'pair/valid', 'pair/reference')


@dataclasses.dataclass(frozen=True)
class Preference:
    """What a config says of the preference loss.

    Attributes:
      method: one of `METHODS`; 'ipa' is DPO in several iterations, 'ntp' learns no preferences.
      beta: how dear distance from the reference is.
      weight: lambda.
      noise: of `cdpo` and `rdpo`.
      likelihood: of `cpo`.
      margin: of `simpo`.
    """

    method: str = IPA
    beta: float = 0.1
    weight: float = 1.0
    noise: float = 0.1
    likelihood: float = 1.0
    margin: float = 0.5

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
        """Whether pairs have any part in it."""
        return self.method != NTP and self.weight > 0


@dataclasses.dataclass(frozen=True, eq=False)
class AlignTask(WithoutTables):
    """A generator that goes on learning from sessions and from pairs; implements `training.task.Task`.

    Attributes:
      base: the generator, whose parameters and state these are.
      preference: the loss of pairs.
      pairs: P.
      every: rows from one pair to the next, B // P.
    """

    base: SessionTask
    preference: Preference
    pairs: int
    every: int

    @property
    def rules(self) -> Rules:
        """The generator's."""
        return self.base.rules

    def on(self, mesh: Mesh) -> 'AlignTask':
        """The same task on a mesh."""
        return dataclasses.replace(self, base=self.base.on(mesh))

    def init(self, rng: jax.Array, batch: Batch) -> tuple[Any, Any]:
        """Draws the generator's parameters and state."""
        return self.base.init(rng, batch)

    def loss(
        self, params: Any, model_state: Any, rows: Rows, batch: Batch, rng: jax.Array
    ) -> tuple[jax.Array, tuple[Metrics, Any]]:
        """The generator's loss, and lambda times the mean preference loss of the pairs that count.

        Args:
          params, model_state, rows, rng: the generator's. In pairs nothing is dropped, as in what the
            reference said of them; router biases follow the loads of the batch alone.
          batch: the generator's, and what `PairSource` adds.

        Returns:
          loss float32 [], and beside the generator's metrics 'preference', the mean of the pairs' losses;
          'gain', that of the log-probability that winners have gained over losers since the reference; and
          'right', the share of pairs whose winner has gained more than its loser.

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
        coded = (model_state[CODES].at[sessions].get(mode='fill', fill_value=-1) >= 0).all(-1)
        tokens = jnp.sum(coded, -1) * len(self.base.network.levels)
        mean, told = pair_loss(self.preference, found, reference, pairs['pair/valid'], tokens)
        return loss + self.preference.weight * mean, (metrics | told, state)

    def predict(
        self, params: Any, model_state: Any, rows: Rows, batch: Batch, rng: jax.Array | None = None
    ) -> dict[str, jax.Array]:
        """What the generator predicts."""
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
    """The mean preference loss of the requests whose pairs count.

    Args:
      preference: which loss.
      found: float [P, 1 + N], log-probabilities of winner and losers under the model that learns.
      reference: float [P, 1 + N], under the frozen one.
      valid: bool [P, N], pairs that count.
      tokens: int [P, 1 + N], of each session.

    Returns:
      float32 [], and the metrics that `AlignTask.loss` adds.
    """
    p = preference
    losses = preference_loss(
        p.kind, found[:, 0], found[:, 1:], reference[:, 0], reference[:, 1:], beta=p.beta, valid=valid,
        lengths=(tokens[:, 0], tokens[:, 1:]), noise=p.noise, likelihood=p.likelihood, margin=p.margin,
    )  # fmt: skip
    mean = jnp.sum(losses) / jnp.maximum(jnp.sum(valid.any(-1)), 1)
    gained = found - reference
    gain, count = gained[:, :1] - gained[:, 1:], jnp.maximum(jnp.sum(valid), 1)
    told = {
        'preference': mean,
        'gain': jnp.sum(gain * valid) / count,
        'right': jnp.sum((gain > 0) * valid) / count,
    }
    return mean, told


def pairs_a_step(ratio: float, batch_size: int) -> int:
    """P = ceil(r B).

    Raises:
      ValueError: a ratio that is no share of the batch.
    """
    if not 0 < ratio <= 1:
        raise ValueError(f'align.ratio = {ratio}: give the share of requests that are mined, in (0, 1]')
    return int(np.ceil(round(ratio * batch_size, 9)))


class PairSource:
    """The batches of a `SessionSource`, from one position to another, with the pairs of an iteration.

    Batch i is a function of i alone, as `BatchSource` has it: its pairs are the next P of those that count,
    and begin again after the last. 'pair/history/item' int32 [B, n] and 'pair/history/length' [B] are what
    the pair's user liked, 'pair/sessions' int32 [B, 1 + N, m] winner and losers, 'pair/valid' bool [B, N]
    the pairs that count and 'pair/reference' float32 [B, 1 + N] what the frozen model said; all 0 in the
    rows between.

    Attributes:
      base: the source of sessions.
      first, stop: the batches that there are.
    """

    def __init__(self, base: SessionSource, mined: Mined, pairs: int, first: int, stop: int):
        """Joins sessions and pairs.

        Args:
          base: whose examples the pairs' indices are; it has at least `stop` batches.
          mined: the pair log of the iteration.
          pairs: P, at most B.
          first: the batch that the iteration begins with.
          stop: the batch after its last.

        Raises:
          ValueError: no request gave a pair.
        """
        self._mined = mined[mined.valid.any(1)]
        if not len(self._mined):
            raise ValueError(
                f'none of {len(mined)} mined requests gave a pair, their sessions are rewarded alike: mine '
                'more requests (align.ratio), more beams, or train the reward model for longer'
            )
        self.base, self.first, self.stop, self._pairs = base, first, stop, pairs

    def __len__(self) -> int:
        return self.stop

    def __getitem__(self, index: int) -> HostBatch:
        index = int(index)
        if not self.first <= index < self.stop:
            raise IndexError(f'batch {index} is not in {self.first}..{self.stop - 1}, those of the iteration')
        batch, base = self.base[index], self.base
        local = base.batch_size // base.process_count
        rows = np.arange(self._pairs) * (base.batch_size // self._pairs) - base.process_index * local
        here = (rows >= 0) & (rows < local)
        slots = ((index - self.first) * self._pairs + np.arange(self._pairs)[here]) % len(self._mined)
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
