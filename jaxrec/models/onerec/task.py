"""Session generation: next-token prediction over semantic IDs (arXiv 2502.18965, eq. 3-4).

A batch may hold several sessions of each request, or next items that share what came before them: the history is then
encoded once for all of them.

B batch, C sessions of a request, n history items, m session items, L levels, W codes of a level, V items, N layers, E
experts.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxrec.configurable import configurable
from jaxrec.data.logs.vocabulary import FIRST
from jaxrec.models.onerec.experts import RULES, expert_losses, new_biases, require_even
from jaxrec.models.onerec.network import OneRec
from jaxrec.models.onerec.options import Network, read_network
from jaxrec.models.onerec.token_evaluator import SessionEvaluator
from jaxrec.models.onerec.tokenizing.semantic_ids import SemanticIds
from jaxrec.ops.generation.preference import session_log_prob, token_log_prob
from jaxrec.options import read_options
from jaxrec.parallel.mesh import Rules
from jaxrec.training.task import Batch, Evaluator, Metrics, Rows, WithoutTables

# What the state holds beside the parameters: the semantic ID of every item, and the routers' biases.
CODES, BIASES = 'codes', 'router_bias'


@dataclasses.dataclass(frozen=True, eq=False)
class SessionTask(WithoutTables):
    """Session-wise generation; implements `training.task.Task` without tables."""

    network: Network  # sizes and switches
    codes: np.ndarray  # int32 [V, L], semantic IDs; -1 for padding, unknown items and items without one
    mesh: Mesh | None = dataclasses.field(default=None, kw_only=True)  # None for one device

    @property
    def module(self) -> OneRec:
        """The Flax module."""
        return OneRec(self.network, self.mesh)

    @property
    def rules(self) -> Rules:
        """Experts are cut over the axis 'model'."""
        return RULES if self.network.experts else ()

    def on(self, mesh: Mesh) -> 'SessionTask':
        """Returns the same task on a mesh; a ValueError if its axis 'model' cannot share the experts evenly."""
        require_even(self.network.experts, mesh)
        return dataclasses.replace(self, mesh=mesh)

    def init(self, rng: jax.Array, batch: Batch) -> tuple[Any, Any]:
        """Draws the parameters; of the batch {key: [B, ...]} only shapes matter.

        Returns:
          (params, model_state): the state holds the items' codes int32 [V, L], so that a checkpoint keeps them, and
          with `bias_rate` the routers' biases float32 [N, E].

        Raises:
          ValueError: the batch has other sizes than the network.
        """
        self._check(batch)
        network, state = self.network, {CODES: jnp.asarray(self.codes, jnp.int32)}
        if network.experts and network.bias_rate:
            state[BIASES] = jnp.zeros((network.decoder_layers, network.experts))

        def touch(module: OneRec) -> jax.Array:
            history, target = _read(state, batch)
            memory = module.encode(history, batch['history/length'])
            return module.logits(module.decode(memory, _flat(target)).hidden, 0)

        return self.module.init(rng, method=touch)['params'], state

    def loss(
        self, params: Any, model_state: Any, rows: Rows, batch: Batch, rng: jax.Array
    ) -> tuple[jax.Array, tuple[Metrics, Any]]:
        """Averages a session's summed token cross-entropies (eq. 4) over valid sessions, and adds the experts' losses.

        Args:
          params: the module's.
          model_state: codes and router biases.
          rows: unused.
          batch: 'history/item' int32 [B, n], 'history/length' [B], 'target/item' int32 [B, m] and 'valid' float [B, m],
            1 where a slot holds an item; or both [B, C, m], of C sessions a request.
          rng: a typed key, of dropout.

        Returns:
          loss float32 [], ({'ntp', the mean loss of a token, and the metrics of `expert_losses`}, new model_state).

        Raises:
          ValueError: the batch has other sizes than the network.
        """
        del rows
        self._check(batch)
        found, told = self.log_probs(params, model_state, batch, rng)
        real = _real(model_state, batch)
        total = -jnp.sum(found * real[..., None])
        loss = total / jnp.maximum(jnp.sum(real.max(-1)), 1)
        metrics = {'ntp': total / jnp.maximum(real.sum() * found.shape[-1], 1)}
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
        """Log-probabilities of the target's tokens given those before: float32 [..., m, L], and the experts' `MoeInfo`.

        `batch` is as for `loss`; `rng` is a typed key in training, None to score.
        """

        def run(module: OneRec) -> tuple[jax.Array, Any]:
            history, target = _read(model_state, batch)
            codes, real = _flat(target), _real(model_state, batch)
            memory = module.encode(history, batch['history/length'], rng)
            real = real.reshape(codes.shape[:2])
            decoded = module.decode(memory, codes, real, rng, model_state.get(BIASES))
            return _log_probs(module, decoded.hidden, codes).reshape(target.shape), decoded.told

        return self.module.apply({'params': params}, method=run)

    def session_log_probs(self, params: Any, model_state: Any, batch: Batch, sessions: jax.Array) -> jax.Array:
        """Scores several sessions of each request, whose history is encoded once; no dropout.

        Args:
          params, model_state: the module's.
          batch: 'history/item' int32 [B, n] and 'history/length' [B].
          sessions: int32 [B, C, m], item ids; those without a semantic ID, such as 0, do not count.

        Returns:
          float32 [B, C], the sum of their tokens' log-probabilities.
        """
        code = lambda items: codes_of(model_state, items)
        codes = code(sessions.reshape(-1, sessions.shape[2]))  # [B C, m, L]
        real = (codes >= 0).all(-1)

        def run(module: OneRec) -> jax.Array:
            memory = module.encode(code(batch['history/item']), batch['history/length'])
            decoded = module.decode(memory, codes, real, None, model_state.get(BIASES))
            return _log_probs(module, decoded.hidden, codes)

        found: Any = self.module.apply({'params': params}, method=run)
        tokens = jnp.broadcast_to(real[..., None], found.shape)
        flat = lambda x: x.reshape(*sessions.shape[:2], -1)
        return session_log_prob(flat(found), flat(tokens))

    def predict(
        self, params: Any, model_state: Any, rows: Rows, batch: Batch, rng: jax.Array | None = None
    ) -> dict[str, jax.Array]:
        """Scores the target sessions of a batch as for `loss`.

        Returns:
          'token_log_prob' float32 [..., m, L] and 'real' float32 [..., m], both 0 where a slot holds no item with an
          ID.
        """
        del rows, rng
        self._check(batch)
        found, _ = self.log_probs(params, model_state, batch)
        real = _real(model_state, batch)
        return {'token_log_prob': found * real[..., None], 'real': real}

    def evaluator(self) -> Evaluator:
        """Returns a new evaluator."""
        return SessionEvaluator()

    def _check(self, batch: Mapping[str, Any]) -> None:
        for key, field in (('history/item', 'history'), ('target/item', 'session')):
            if key not in batch:
                raise ValueError(f'the batch lacks {key!r}: give the features of that side the column item')
            items, shape = getattr(self.network, field), tuple(batch[key].shape)
            ranks = (2, 3) if field == 'session' else (2,)
            # Of a session that is shorter the last places would never be learned, and yet be written.
            fits = shape[-1:] == (items,) if field == 'session' else shape[-1] <= items
            if len(shape) not in ranks or not fits:
                wanted = items if field == 'session' else f'up to {items}'
                raise ValueError(
                    f'batch[{key!r}] has the shape {shape}; the network reads [B, {wanted}]: set '
                    f'model.{field} as the data has it'
                )


def codes_of(state: Any, items: jax.Array) -> jax.Array:
    """Semantic IDs int32 [..., L] of item rows int32 [...]; -1 for what is no row, such as -1."""
    return state[CODES].at[items].get(mode='fill', fill_value=-1, wrap_negative_indices=False)


def _read(state: Any, batch: Batch) -> tuple[jax.Array, jax.Array]:
    """The codes of history and target items, int32 [B, n, L] and [..., m, L]."""
    return codes_of(state, batch['history/item']), codes_of(state, batch['target/item'])


def _real(state: Any, batch: Batch) -> jax.Array:
    """float32 [..., m], as the target is: 1 for target items that count and have a semantic ID."""
    _, target = _read(state, batch)
    return batch['valid'].astype(jnp.float32) * (target >= 0).all(-1)


def _flat(codes: jax.Array) -> jax.Array:
    """The codes of all sessions, int [B C, m, L]."""
    return codes.reshape(-1, *codes.shape[-2:])


def _log_probs(module: OneRec, hidden: jax.Array, codes: jax.Array) -> jax.Array:
    """float32 [B C, m, L] of hidden [B C, m, L, X] and the codes that follow it."""
    found = []
    for level in range(codes.shape[-1]):
        logits = module.logits(hidden[:, :, level], level)  # [B C, m, W]
        found.append(token_log_prob(logits, jnp.maximum(codes[..., level], 0)))
    return jnp.stack(found, -1)


@configurable('task')
def make_task(config: Mapping[str, Any], schema: Mapping[str, Any]) -> SessionTask:
    """Builds the task.

    Args:
      config: as for `read_network`, without `levels`; `ids`, the path of the items' semantic IDs, which
        `SemanticIds.save` wrote, in the order of the log's items; and `ranks` (default True): the rank in a collision
        group is one more level, so that every item has an ID of its own.
      schema: the log's {column: Column}.

    Raises:
      ValueError: what `read_network` refuses, or semantic IDs of another log.
    """
    own = {'ids': '', 'ranks': True, 'features': {}}  # a batch that lacks a side is refused
    options = read_options({key: config[key] for key in own if key in config}, 'model', **own)
    if not options['ids']:
        raise ValueError(
            'model.ids is empty: give the semantic IDs that `jaxrec onerec tokenize` wrote, or say '
            'under files.ids how they are made'
        )
    if 'levels' in config:
        raise ValueError(f'model.levels = {config["levels"]}: leave it out, levels are those of model.ids')
    ids = SemanticIds.load(options['ids'])
    codes = ids.ids if options['ranks'] else ids.codes
    levels = [ids.clusters] * ids.codes.shape[1] + ([ids.room] if options['ranks'] else [])
    if len(codes) != schema['item'].rows - FIRST:
        raise ValueError(
            f'model.ids: {options["ids"]} has {len(codes)} items and the log {schema["item"].rows - FIRST}: '
            'tokenize the items of this log'
        )
    rest = {key: config[key] for key in config if key not in own}
    return SessionTask(read_network({**rest, 'levels': tuple(levels)}), with_special(codes))


def with_special(codes: np.ndarray) -> np.ndarray:
    """Codes int32 [V, L] by the rows of a vocabulary, of codes [items, L]; -1 for rows that are no items."""
    return np.pad(codes, ((FIRST, 0), (0, 0)), constant_values=-1).astype(np.int32)
