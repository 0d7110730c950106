"""A mixture of experts, forward and backward, against dense feed-forwards of the same active parameters.

Loads are near even, then one expert has several times the mean. `capacity` is 1.25 times an even spread.

T tokens, E experts, K experts chosen a token, D width, F hidden width of an expert.
"""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.ops.experts.grouped import ACTIVATIONS, Experts
from jaxrec.ops.experts.moe import MoeInfo, moe_ffn
from jaxrec.ops.transformer import feed_forward
from jaxrec.parallel.peak_memory import peak_mb
from jaxrec.runs.timing import measure, record

TOKENS, EXPERTS, TOP_K, WIDTH, HIDDEN = 8192, 24, 2, 256, 704
BATCHES = 4
# Name of the record -> (how far apart the experts' mean logits lie, options of `moe_ffn`).
MIXTURES: dict[str, tuple[float, dict[str, Any]]] = {
    'balanced': (0.0, {'impl': 'ragged'}),
    'skewed': (4.0, {'impl': 'ragged'}),
    'balanced, capacity 1.25': (0.0, {'impl': 'capacity'}),
    'skewed, capacity 1.25': (4.0, {'impl': 'capacity'}),
}
# Name of the record -> (tokens [T, D], up, down) -> [T, D].
DENSE: dict[str, Callable[..., jax.Array]] = {
    'dense': lambda x, up, down: ACTIVATIONS['swiglu'](x @ up) @ down,
    'feed_forward': lambda x, up, down: feed_forward(x, up, down, 'swiglu'),
}
Call = Callable[[jax.Array], Any]


def run(name: str) -> Iterator[dict[str, Any]]:
    """Time the dense feed-forwards and each mixture; an example is a token.

    `of_dense` and `of_feed_forward` are times as multiples of the dense ones, `load` is the highest over the mean load.
    """
    idle, draw = peak_mb(), np.random.default_rng(0)
    batches = [_draw(draw, TOKENS, WIDTH) for _ in range(BATCHES)]
    # A constant column, by which a router can prefer experts whatever the token.
    batches = [batch.at[:, 0].set(1.0) for batch in batches]
    shapes = f'T{TOKENS} D{WIDTH} swiglu'
    up, down = _draw(draw, WIDTH, 2 * TOP_K * HIDDEN), _draw(draw, TOP_K * HIDDEN, WIDTH)
    words, dense = f'{shapes} F{TOP_K * HIDDEN} dense', {}
    for form, run_dense in DENSE.items():
        timed = measure(_over(batches, make_dense(run_dense, up, down)), lambda: None)
        dense[form] = timed[0]
        yield record(name, words, up.size + down.size, timed, TOKENS, idle, mixture=form)
    experts = Experts(_draw(draw, EXPERTS, WIDTH, 2 * HIDDEN), _draw(draw, EXPERTS, HIDDEN, WIDTH))
    for mixture, (skew, options) in MIXTURES.items():
        router = _draw(draw, WIDTH, EXPERTS).at[0].set(-skew * jnp.linspace(0, 1, EXPERTS))
        call = make_mixture(router, experts, options)
        timed = measure(_over(batches, call), lambda: None)
        info = call(batches[0])[0]
        more: dict[str, Any] = {f'of_{form}': round(timed[0] / seconds, 3) for form, seconds in dense.items()}
        more |= {'dropped': round(float(info.dropped), 4), 'load': round(float(info.load.max() / info.load.mean()), 2)}
        words, size = f'{shapes} F{HIDDEN} {EXPERTS} experts top {TOP_K}', router.size + sum(w.size for w in experts)
        yield record(name, words, size, timed, TOKENS, idle, mixture=mixture, **more)


def make_dense(run_dense: Callable[..., jax.Array], up: jax.Array, down: jax.Array) -> Call:
    """A call that returns the gradients of a dense feed-forward."""

    def loss(x: jax.Array, up: jax.Array, down: jax.Array) -> jax.Array:
        return jnp.mean(run_dense(x, up, down) ** 2)

    step = jax.jit(jax.grad(loss, (0, 1, 2)))
    return lambda x: step(x, up, down)


def make_mixture(router: jax.Array, experts: Experts, options: dict[str, Any]) -> Call:
    """A call that returns the info and the gradients of a mixture, balance loss included."""

    def loss(x: jax.Array, router: jax.Array, experts: Experts) -> tuple[jax.Array, MoeInfo]:
        y, info = moe_ffn(x, router, experts, top_k=TOP_K, **options)
        return jnp.mean(y**2) + 0.01 * info.balance_loss, info

    step = jax.jit(jax.grad(loss, (0, 1, 2), has_aux=True))

    def call(x: jax.Array) -> tuple[MoeInfo, Any]:
        grads, info = step(x, router, experts)
        return info, grads

    return call


def _over(batches: list[jax.Array], call: Call) -> Callable[[], Any]:
    """A call on the next batch, which waits for what comes of it."""
    turns = itertools.cycle(batches)
    return lambda: jax.block_until_ready(call(next(turns)))


def _draw(draw: np.random.Generator, *shape: int) -> jax.Array:
    """Numbers of the usual size: tokens of one, weights of one over the root of what they are summed over."""
    scale = 1.0 if shape == (TOKENS, WIDTH) else shape[-2] ** -0.5
    return jnp.asarray(draw.standard_normal(shape, np.float32) * np.float32(scale))
