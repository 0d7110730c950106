"""Exploration by adversarial gradients (AGE, arXiv 2112.11136): directions, uncertainties, gates, steps.

Perturbations are trees of arrays [B, C, ...]: every candidate has its own copy, of the user's rows too.

B requests, C candidates, N passes, T gradient steps.
"""

import math
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

Tree = Any  # of float [B, C, ...]
SPREADS, CENTRES = ('std', 'var'), ('base', 'mean')


def pair_norm(tree: Tree) -> jax.Array:
    """The L2 norm [B, C] over all that belongs to one candidate in a tree of [B, C, ...]."""
    return jnp.sqrt(_squares(tree))


def flatten_pairs(tree: Tree) -> tuple[jax.Array, Callable[[jax.Array], Tree]]:
    """Concatenates all that belongs to one candidate to [B, C, F], so that one operation serves all leaves.

    For a request of a few candidates an operation's call costs more than its work. Returns the array and a function
    that restores the tree from such an array.
    """
    leaves, structure = jax.tree.flatten(tree)
    shapes = [x.shape for x in leaves]
    ends = np.cumsum([math.prod(shape[2:]) for shape in shapes])[:-1].tolist()

    def restore(flat: jax.Array) -> Tree:
        parts = jnp.split(flat, ends, -1)
        return jax.tree.unflatten(structure, [x.reshape(s) for x, s in zip(parts, shapes, strict=True)])

    return jnp.concatenate([x.reshape(*x.shape[:2], -1) for x in leaves], -1), restore


def scale_pairs(tree: Tree, factor: jax.Array) -> Tree:
    """Multiplies all that belongs to one candidate, in a tree of [B, C, ...], by its factor, float [B, C]."""
    return jax.tree.map(lambda x: x * factor.reshape(*factor.shape, *[1] * (x.ndim - 2)), tree)


def unit(tree: Tree) -> Tree:
    """Normalises the gradient of each candidate, in a tree of [B, C, ...], to norm 1, or zeros for norm 0 (eq. 8)."""
    squares = _squares(tree)
    # Guarded before the root, whose slope at 0 would make a NaN of whatever is differentiated through here.
    return scale_pairs(tree, jnp.where(squares > 0, jax.lax.rsqrt(jnp.where(squares > 0, squares, 1)), 0))


def fgm_direction(gradient: Tree) -> Tree:
    """The direction of the fast gradient method: one gradient of the model's output, normalised (eq. 8)."""
    return unit(gradient)


def pgd_direction(gradient: Tree, gradient_at: Callable[[Tree], Tree], size: jax.Array, steps: int) -> Tree:
    """The direction of projected gradient steps (eq. 14): T steps of equal size, their sum normalised to norm 1 or 0.

    The paper leaves T, the steps' size and the projection open. Here each step goes a T-th of the way along the unit
    gradient at where the last one ended, up for a positive size and down for a negative one.

    Args:
      gradient: float [B, C, ...] each, of the model's output at the rows themselves.
      gradient_at: the gradient at the rows plus a tree like it.
      size: float [B, C], how far the perturbation will go.
      steps: T; one step is `fgm_direction`.
    """
    first = unit(gradient)

    def step(_: int, total: Tree) -> Tree:
        more = unit(gradient_at(scale_pairs(total, size / steps)))
        return jax.tree.map(jnp.add, total, more)

    return unit(jax.lax.fori_loop(1, steps, step, first)) if steps > 1 else first


def thompson_delta(base: jax.Array, sample: jax.Array, *, signed: bool = True) -> jax.Array:
    """Uncertainty in Thompson's form (eq. 13), [B, C]: one network of the distribution against the complete one.

    Args:
      base, sample: float [B, C], predictions without dropout and of one pass.
      signed: a pass below the base lowers the score; False takes the absolute value, for comparison only.
    """
    delta = sample - base
    return delta if signed else jnp.abs(delta)


def ucb_delta(base: jax.Array, samples: jax.Array, *, spread: str = 'std', centre: str = 'base') -> jax.Array:
    """Uncertainty in the form of an upper confidence bound (eq. 12), [B, C], 0 or more: the spread of N passes.

    Args:
      base, samples: float [B, C] and [N, B, C], predictions without dropout and of the passes.
      spread: 'std', or 'var' for its square.
      centre: 'base' measures from the base, 'mean' from the passes' mean.

    Raises:
      ValueError: an unknown spread or centre.
    """
    chex.assert_rank([base, samples], [2, 3])
    if spread not in SPREADS:
        raise ValueError(f'ucb_spread = {spread!r} does not exist; choose one of {SPREADS}')
    if centre not in CENTRES:
        raise ValueError(f'ucb_centre = {centre!r} does not exist; choose one of {CENTRES}')
    # Deviations first: squares of the predictions themselves would cancel in float32.
    deviations = samples - base
    if centre == 'mean':
        deviations = deviations - deviations.mean(0)
    variance = jnp.mean(deviations * deviations, 0)
    return variance if spread == 'var' else jnp.sqrt(variance)


def hard_gate(prediction: jax.Array, threshold: jax.Array) -> jax.Array:
    """Explores only what is predicted strictly above the item's own average (eq. 16); float32 [B, C], 0 or 1."""
    return (prediction > threshold).astype(jnp.float32)


def soft_gate(prediction: jax.Array, threshold: jax.Array, slope: float) -> jax.Array:
    """A gate that opens smoothly, one half at the threshold, sharper for a higher slope; not in the paper."""
    return jax.nn.sigmoid(slope * (prediction - threshold))


def keep_unmoved(base: jax.Array, moved: jax.Array, size: jax.Array) -> jax.Array:
    """The explored score [B, C] (eq. 15): the base's score, to the bit, where the step has size 0, else the moved one.

    Another program computes the moved scores and may round differently.
    """
    return jnp.where(size == 0, base, moved)


def winners(scores: jax.Array, pool: jax.Array | np.ndarray) -> jax.Array:
    """The first candidate int32 [B] of the highest score [B, C] in each pool [B, C]; 0 for an empty pool."""
    return jnp.argmax(jnp.where(pool > 0, scores, -jnp.inf), -1).astype(jnp.int32)


def changed_share(base: jax.Array, explored: jax.Array, pool: jax.Array | np.ndarray) -> jax.Array:
    """The share of requests that exploration gives another winner, among those with a pool; 0 without any pool."""
    has_pool = (pool > 0).any(-1)
    differs = has_pool & (winners(base, pool) != winners(explored, pool))
    return differs.sum() / jnp.maximum(has_pool.sum(), 1)


def _squares(tree: Tree) -> jax.Array:
    squares = [jnp.sum(x * x, axis=tuple(range(2, x.ndim))) for x in jax.tree.leaves(tree)]
    return sum(squares[1:], squares[0])
