"""Pseudo-exploration (arXiv 2112.11136, algorithm 1): predict, doubt, direct, gate, and score again.

One call scores whole padded pools for a batch of requests. Uncertainty is never added to a score: the rows move by
lambda * delta_y along the unit gradient of the output, where the gate allows, and are scored there.

B requests, C candidates, D width.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrec import embeddings as emb
from jaxrec.models.age.options import Exploration
from jaxrec.models.age.pairs import Model, Pairs
from jaxrec.models.age.uncertainty import uncertainty
from jaxrec.ops import exploration as ops
from jaxrec.ops.chunks import by_chunks
from jaxrec.ops.hashing import counter_normal
from jaxrec.training.state import Setup, TrainState
from jaxrec.training.task import Batch


class Explored(NamedTuple):
    """Scores of a batch of requests, each float32 [B, C]."""

    score: jax.Array  # what to rank by
    probability: jax.Array  # the base's prediction
    delta: jax.Array  # delta_y
    gate: jax.Array  # 0 to 1, where exploration is allowed
    size: jax.Array  # gate * lambda * delta_y, how far the rows moved


def _open_gate(probability: jax.Array, average: jax.Array | None, options: Exploration) -> jax.Array:
    """Where exploration is allowed (eq. 16), float32 [B, C]; `average` is the gating unit's, None without one."""
    if options.gate == 'none':
        return jnp.ones_like(probability)
    threshold = jnp.float32(options.gate_threshold) if average is None else average
    if options.soft_gate:
        return ops.soft_gate(probability, threshold, options.gate_slope)
    return ops.hard_gate(probability, threshold)


def move(pairs: Pairs, size: jax.Array, rng: jax.Array, options: Exploration) -> ops.Tree:
    """Computes what is added to the rows of each candidate: `size` times its unit direction g (eq. 8 or 14).

    Args:
      pairs: of the batch.
      size: float32 [B, C], how far the rows move.
      rng: a typed key, which only a random direction reads.
      options: how scores are explored.

    Returns:
      {table: {feature: [B, C, ..., D]}}.
    """
    if options.direction == 'random':
        return ops.scale_pairs(_random_directions(pairs, size.shape, rng), size)
    gradient, restore = ops.flatten_pairs(pairs.gradient())
    if options.direction == 'fgm':
        direction = ops.fgm_direction(gradient)
    else:
        gradient_at = lambda delta: ops.flatten_pairs(pairs.gradient_at(restore(delta)))[0]
        direction = ops.pgd_direction(gradient, gradient_at, size, options.pgd_steps)
    return restore(ops.scale_pairs(direction, size))


def explore(
    model: Model,
    rng: jax.Array,
    explore_lambda: jax.typing.ArrayLike,
    options: Exploration,
    average: jax.Array | None = None,
) -> Explored:
    """Scores whole pools of candidates.

    Args:
      model: the CTR task that is explored, on a batch with `valid` [B, C], the pool; an `explorable` [B, C] of 0 keeps
        a candidate's base score, such as that of an item with impressions enough.
      rng: a typed key.
      explore_lambda: float [], the step per unit of uncertainty; 0 leaves the base's scores to the bit.
      options: how scores are explored.
      average: float32 [B, C], the gating unit's estimate, if the gate reads one.

    Returns:
      The scores, and how they came about.
    """
    batch = model.batch
    with jax.named_scope('predict'):
        base = model.predict()['probability']
    with jax.named_scope('uncertainty'):
        delta = uncertainty(model, rng, base, options)
    gate = _open_gate(base, average, options)
    allowed = batch['valid'] * batch['explorable'] if 'explorable' in batch else batch['valid']
    size = gate * allowed * explore_lambda * delta
    return Explored(ops.keep_unmoved(base, _moved(model, size, rng, options), size), base, delta, gate, size)


def _moved(model: Model, size: jax.Array, rng: jax.Array, options: Exploration) -> jax.Array:
    """Probabilities [B, C] at the moved rows, some requests at a time: each candidate has rows of its own."""
    leaves, tree = jax.tree.flatten((model.rows, model.batch))

    def score(size: jax.Array, *leaves: jax.Array) -> jax.Array:
        rows, batch = jax.tree.unflatten(tree, leaves)
        pairs = Pairs(model.task, model.params, model.model_state, rows, batch, options.perturb)
        with jax.named_scope('direction'):
            delta = move(pairs, size, rng, options)
        with jax.named_scope('explored'):
            return pairs.scores(delta)['probability']

    if options.direction == 'random':  # drawn by the places of requests in their batch
        return score(size, *leaves)
    # Of float32: the delta, its gradient, the moved rows and what a layer reads of them.
    width = Pairs(*model.arguments, options.perturb).width
    return by_chunks(score, size, *leaves, bytes_each=4 * 4 * width * size.shape[1])


def make_explore_step(setup: Setup) -> Callable[..., Explored]:
    """Builds the jitted exploration of a setup's `AgeTask` on its mesh.

    Returns:
      (state, batch, rng, explore_lambda=None) -> `Explored`; None takes the config's. Another lambda is no new program.

    Raises:
      ValueError: as `AgeTask.explore`, when called; tables that live on the host.
    """
    setup.require_tables_on_device('exploration')
    task: Any = setup.task

    @jax.jit
    def run(params: Any, model_state: Any, tables: Any, batch: Batch, rng: jax.Array, size: jax.Array) -> Explored:
        rows = emb.lookup(task.tables, tables, task.ids(batch), mesh=setup.mesh, exchange=setup.exchange)
        return task.explore(params, model_state, rows, batch, rng, size)

    def explored(state: TrainState, batch: Batch, rng: jax.Array, explore_lambda: float | None = None) -> Explored:
        size = task.size(explore_lambda)
        return run(state.params, state.model_state, state.tables, batch, rng, size)

    return explored


def _random_directions(pairs: Pairs, shape: tuple[int, ...], rng: jax.Array) -> ops.Tree:
    """Gaussian directions over the rows that are not padding, which reads as zeros."""
    leaves, tree = jax.tree.flatten(pairs.moving)
    drawn = []
    for i, (x, like) in enumerate(zip(leaves, jax.tree.leaves(jax.eval_shape(pairs.gradient)), strict=True)):
        key = jax.random.fold_in(rng, i + 1)
        noise = counter_normal(key, jnp.arange(like.shape[0]), like.size // like.shape[0])
        real = (x != 0).any(-1, keepdims=True)
        drawn.append(noise.reshape(like.shape) * (real if x.ndim == len(like.shape) else real[:, None]))
    return ops.unit(jax.tree.unflatten(tree, drawn))
