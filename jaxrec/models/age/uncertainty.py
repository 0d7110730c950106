"""How unsure the model is of each score: passes of thinned networks (arXiv 2112.11136, section 3.3).

B requests, C candidates, N passes, P numbers of the network.
"""

from typing import Any

import jax
import jax.numpy as jnp

from jaxrec.models.age.options import Exploration
from jaxrec.models.age.pairs import Model, candidate_axes, is_per_candidate
from jaxrec.ops.dropout import DROPS, fold_words, key_words
from jaxrec.ops.exploration import thompson_delta, ucb_delta
from jaxrec.ops.hashing import counter_normal
from jaxrec.training.task import Batch, Rows

AT_ONCE = 1 << 20  # numbers of thinned networks that exist at a time, 4 MiB, which a cache may hold


def dropout_pass(
    model: Model, words: jax.Array, rate: float, scope: str = 'request', place: str = 'weights'
) -> jax.Array:
    """Scores every request by a thinned network of its own.

    Args:
      model: a CTR task on a batch.
      words: uint32 [2], which networks.
      rate: share of the weights or of the units that are set to zero.
      scope: 'request', one network for all of a request's candidates, or 'candidate', one for each.
      place: 'weights' or 'activations', a key of `ops.dropout.DROPS`.

    Returns:
      Probabilities float32 [B, C].
    """
    task, params, model_state, rows, batch = model.arguments

    def one(number: jax.Array, rows: Rows, batch: Batch) -> jax.Array:
        thin = DROPS[place](params, fold_words(words, number), rate)
        lone = jax.tree.map(lambda x: x[None], (rows, batch))
        return task.predict(thin, model_state, *lone)['probability'][0]  # [C]

    size, candidates = batch['valid'].shape
    if scope == 'request':
        return _map(one, jnp.arange(size), rows, batch, params)

    def each(request: jax.Array, rows: Rows, batch: Batch) -> jax.Array:
        in_axes = (0, {table: candidate_axes(features) for table, features in rows.items()}, candidate_axes(batch))
        widen = lambda f: {key: x[None] if is_per_candidate(key) else x for key, x in f.items()}

        def alone(number: jax.Array, rows: Rows, batch: Batch) -> jax.Array:
            return one(number, {t: widen(f) for t, f in rows.items()}, widen(batch))[0]

        numbers = request * candidates + jnp.arange(candidates)
        return jax.vmap(alone, in_axes)(numbers, rows, batch)

    return _map(each, jnp.arange(size), rows, batch, params, candidates)


def dropout_passes(
    model: Model, words: jax.Array, rate: float, passes: int, scope: str = 'request', place: str = 'weights'
) -> jax.Array:
    """Scores by several passes, float32 [N, B, C]; the other arguments are those of `dropout_pass`."""
    draw = lambda n: dropout_pass(model, fold_words(words, n), rate, scope, place)
    requests, candidates = model.batch['valid'].shape
    each = requests * count(model.params) * (1 if scope == 'request' else candidates)
    if passes * each <= AT_ONCE:
        return jax.vmap(draw)(jnp.arange(passes))
    return jax.lax.map(draw, jnp.arange(passes))


def uncertainty(model: Model, rng: jax.Array, base: jax.Array, options: Exploration) -> jax.Array:
    """Computes delta_y float32 [B, C], as the options say, of the network's probabilities `base` [B, C]."""
    rate, where = options.dropout_rate, (options.mask_scope, options.dropout_place)
    if options.uncertainty == 'ucb':
        samples = dropout_passes(model, key_words(rng), rate, options.passes, *where)
        return ucb_delta(base, samples, spread=options.ucb_spread, centre=options.ucb_centre)
    if options.uncertainty == 'gaussian':
        delta = counter_normal(rng, jnp.arange(base.shape[0]), base.shape[1])
    else:
        delta = thompson_delta(base, dropout_pass(model, key_words(rng), rate, *where))
    return delta if options.ts_signed and options.variant == 'v2' else jnp.abs(delta)


def count(params: Any) -> int:
    """Numbers in a tree."""
    return sum(x.size for x in jax.tree.leaves(params))


def _map(function: Any, numbers: jax.Array, rows: Rows, batch: Batch, params: Any, each: int = 1) -> jax.Array:
    """vmap over requests, a part of them at a time where their networks would fill the memory."""
    at_once = max(1, AT_ONCE // max(1, each * count(params)))
    if len(numbers) <= at_once:
        return jax.vmap(function)(numbers, rows, batch)
    return jax.lax.map(lambda args: function(*args), (numbers, rows, batch), batch_size=at_once)
