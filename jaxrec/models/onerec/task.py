"""The task of writing sessions: next-token prediction over semantic IDs (arXiv 2502.18965, eq. 3-4).

B batch, n history items, m session items, L levels, C codes of a level, N layers, E experts.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxrec.embeddings import Table
from jaxrec.models.onerec.evaluator import SessionEvaluator
from jaxrec.models.onerec.experts import expert_losses, new_biases
from jaxrec.models.onerec.network import OneRec
from jaxrec.models.onerec.options import Network, read_network
from jaxrec.training.task import Batch, Metrics, Rows

BIASES = 'router_bias'


@dataclasses.dataclass(frozen=True)
class SessionTask:
    """Session-wise generation; implements `training.task.Task` without tables.

    Attributes:
      network: sizes and switches.
    """

    network: Network

    @property
    def module(self) -> OneRec:
        """The Flax module."""
        return OneRec(self.network)

    @property
    def tables(self) -> Mapping[str, Table]:
        """None: all codes are scored, so their vectors are parameters."""
        return {}

    def ids(self, batch: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """None."""
        del batch
        return {}

    def given_ids(self, batch: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """None."""
        del batch
        return {}

    def init(self, rng: jax.Array, batch: Batch) -> tuple[Any, Any]:
        """Draws the parameters.

        Args:
          rng: a typed key.
          batch: {key: [B, ...]}; only its shapes matter.

        Returns:
          (params, model_state): the state holds the routers' biases float32 [N, E], of a loss-free balance.

        Raises:
          ValueError: the batch has other sizes than the network.
        """
        self._check(batch)
        params = self.module.init(rng, batch, method=_touch)['params']
        network = self.network
        if not (network.experts and network.bias_rate):
            return params, {}
        return params, {BIASES: jnp.zeros((network.decoder_layers, network.experts))}

    def loss(
        self, params: Any, model_state: Any, rows: Rows, batch: Batch, rng: jax.Array
    ) -> tuple[jax.Array, tuple[Metrics, Any]]:
        """The sum of a session's token cross-entropies, averaged over the valid sessions, and the experts'.

        Args:
          params: the module's.
          model_state: the routers' biases.
          rows: unused.
          batch: 'history/codes' int32 [B, n, L], 'history/length' [B], 'target/codes' int32 [B, m, L],
            'valid' float [B] and, where sessions may be shorter than m, 'target/length' [B].
          rng: a typed key, of dropout.

        Returns:
          loss float32 [], ({'ntp', the mean loss of a token, and of the experts 'load_max', 'dropped' and
          their losses}, new model_state).

        Raises:
          ValueError: the batch has other sizes than the network.
        """
        del rows
        self._check(batch)
        found, told = self.log_probs(params, model_state, batch, rng)
        real = _real(batch)
        loss = -jnp.sum(found * real[..., None]) / jnp.maximum(batch['valid'].sum(), 1)
        tokens = jnp.maximum(real.sum() * found.shape[-1], 1)
        metrics = {'ntp': -jnp.sum(found * real[..., None]) / tokens}
        if told is None:
            return loss, (metrics, model_state)
        extra, of_experts = expert_losses(self.network, told)
        state = model_state
        if BIASES in model_state:
            state = {**model_state, BIASES: new_biases(self.network, model_state[BIASES], told)}
        return loss + extra, (metrics | of_experts, state)

    def log_probs(
        self, params: Any, model_state: Any, batch: Batch, rng: jax.Array | None = None
    ) -> tuple[jax.Array, Any]:
        """Of every token of the target session, given those before it.

        Args:
          params, model_state: the module's.
          batch: as for `loss`.
          rng: a typed key in training, None to score.

        Returns:
          float32 [B, m, L], and what the experts tell.
        """

        def run(module: OneRec) -> tuple[jax.Array, Any]:
            memory = module.encode(batch['history/codes'], batch['history/length'], rng)
            state = model_state.get(BIASES)
            decoded = module.decode(memory, batch['target/codes'], _real(batch), rng, state)
            return _log_probs(module, decoded.hidden, batch['target/codes']), decoded.told

        return self.module.apply({'params': params}, method=run)

    def predict(
        self, params: Any, model_state: Any, rows: Rows, batch: Batch, rng: jax.Array | None = None
    ) -> dict[str, jax.Array]:
        """Scores the target sessions.

        Args:
          params, model_state: the module's.
          rows: unused.
          batch: as for `loss`.
          rng: unused.

        Returns:
          'token_log_prob' float32 [B, m, L], 0 behind a session's end.
        """
        del rows, rng
        self._check(batch)
        found, _ = self.log_probs(params, model_state, batch)
        return {'token_log_prob': found * _real(batch)[..., None]}

    def evaluator(self) -> SessionEvaluator:
        """Returns a fresh accumulator."""
        return SessionEvaluator()

    def _check(self, batch: Mapping[str, Any]) -> None:
        network = self.network
        for key, items, field in (
            ('history/codes', network.history, 'history'),
            ('target/codes', network.session, 'session'),
        ):
            if key not in batch:
                raise ValueError(
                    f'the batch lacks {key!r}: sessions are read as semantic IDs, [B, items, levels]'
                )
            shape = batch[key].shape
            if len(shape) != 3 or shape[1] > items or shape[2] != len(network.levels):
                raise ValueError(
                    f'batch[{key!r}] has the shape {tuple(shape)}; the network reads [B, up to {items}, '
                    f'{len(network.levels)}]: set model.{field} and model.levels as the data has them'
                )


def _touch(module: OneRec, batch: Batch) -> jax.Array:
    """Reads every parameter once, so that all are drawn."""
    memory = module.encode(batch['history/codes'], batch['history/length'])
    return module.logits(module.decode(memory, batch['target/codes']).hidden, 0)


def _real(batch: Batch) -> jax.Array:
    """float32 [B, m]: 1 for target items that count."""
    items = batch['target/codes'].shape[1]
    real = jnp.broadcast_to(batch['valid'][:, None], (batch['valid'].shape[0], items)).astype(jnp.float32)
    if 'target/length' in batch:
        real = real * (jnp.arange(items) < batch['target/length'][:, None])
    return real


def _log_probs(module: OneRec, hidden: jax.Array, codes: jax.Array) -> jax.Array:
    """float32 [B, m, L] of hidden [B, m, L, X] and the codes that follow it."""
    found = []
    for level in range(codes.shape[-1]):
        logits = module.logits(hidden[:, :, level], level)  # [B, m, C]
        picked = jnp.take_along_axis(logits, codes[..., level, None], -1)[..., 0]
        found.append(picked - jax.nn.logsumexp(logits, -1))
    return jnp.stack(found, -1)


def make_task(config: Mapping[str, Any], schema: Mapping[str, Any]) -> SessionTask:
    """Builds the task.

    Args:
      config: as for `read_network`.
      schema: unused, semantic IDs are not of a log's vocabularies.

    Returns:
      The task.

    Raises:
      ValueError: what `read_network` refuses.
    """
    del schema
    return SessionTask(read_network(config))
