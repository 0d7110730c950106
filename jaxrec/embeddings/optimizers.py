"""Row optimizers: optax-shaped pairs that read and write only the rows a batch touched, at any table size.

V rows, D width, n touched rows.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

Slots = dict[str, jax.Array]
LearningRate = float | Callable[[jax.Array], jax.Array]


class RowOptimizer(NamedTuple):
    """A row rule.

    Attributes:
      init: (V, D) -> {slot: zeros-like [V] or [V, D]}.
      update: (grads float32 [n, D], slots {slot: [n] or [n, D]}, step int32 [], counted from 1) -> (updates float32 [n,
        D] to be added to the rows, new slots).
    """

    init: Callable[[int, int], Slots]
    update: Callable[[jax.Array, Slots, jax.Array], tuple[jax.Array, Slots]]


def _rate(learning_rate: LearningRate, step: jax.Array) -> jax.Array | float:
    # Optax schedules count from 0.
    return learning_rate(step - 1) if callable(learning_rate) else learning_rate


def sgd(learning_rate: LearningRate) -> RowOptimizer:
    """Gradient descent on the touched rows; equals dense SGD exactly.

    The rate may be a schedule of the step, as in optax.
    """

    def update(grads: jax.Array, slots: Slots, step: jax.Array) -> tuple[jax.Array, Slots]:
        return -_rate(learning_rate, step) * grads, {}

    return RowOptimizer(lambda rows, dim: {}, update)


def row_adagrad(learning_rate: LearningRate, initial: float = 0.0, eps: float = 1e-8) -> RowOptimizer:
    """Row-wise Adagrad: one accumulator a row, `sum` [V], fed with the mean square of the row's gradient.

    a += mean_d(g_d^2);  row -= lr * g / sqrt(a + eps). The default: one float a row, and nothing goes stale, since a
    zero gradient would not have changed the accumulator.

    Args:
      learning_rate: a number, or a schedule of the step.
      initial: what the accumulators start from.
      eps: added inside the square root.
    """

    def init(rows: int, dim: int) -> Slots:
        return {'sum': jnp.full(rows, initial, jnp.float32)}

    def update(grads: jax.Array, slots: Slots, step: jax.Array) -> tuple[jax.Array, Slots]:
        total = slots['sum'] + jnp.mean(grads * grads, -1)  # [n]
        return -_rate(learning_rate, step) * grads * jax.lax.rsqrt(total + eps)[:, None], {'sum': total}

    return RowOptimizer(init, update)


def lazy_adam(learning_rate: LearningRate, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> RowOptimizer:
    """Adam on the touched rows, with the moments decayed for the steps that did not touch a row.

    The moments are those of dense Adam, because a zero gradient only decays them: for a row last touched at step s, m
    <- b1^(t - s) m + (1 - b1) g. What is lazy is the row itself: dense Adam would have kept moving it between s and t.
    The slots are `mean` and `square` [V, D] and `last` int32 [V], the step of the last touch.

    Args:
      learning_rate: a number, or a schedule of the step.
      b1, b2: decay of the first and of the second moment.
      eps: added to the root of the second moment, as in optax.
    """

    def init(rows: int, dim: int) -> Slots:
        return {
            'mean': jnp.zeros((rows, dim), jnp.float32),
            'square': jnp.zeros((rows, dim), jnp.float32),
            'last': jnp.zeros(rows, jnp.int32),
        }

    def update(grads: jax.Array, slots: Slots, step: jax.Array) -> tuple[jax.Array, Slots]:
        slept = (step - slots['last']).astype(jnp.float32)[:, None]  # [n, 1]
        mean = b1**slept * slots['mean'] + (1 - b1) * grads
        square = b2**slept * slots['square'] + (1 - b2) * grads * grads
        count = step.astype(jnp.float32)
        corrected = mean / (1 - b1**count)
        scale = jnp.sqrt(square / (1 - b2**count)) + eps
        touched = jnp.full_like(slots['last'], step)
        new = {'mean': mean, 'square': square, 'last': touched}
        return -_rate(learning_rate, step) * corrected / scale, new

    return RowOptimizer(init, update)


def make_row_optimizer(name: str, learning_rate: LearningRate, **options: float) -> RowOptimizer:
    """Builds a row optimizer from a config.

    Args:
      name: 'row_adagrad', 'lazy_adam' or 'sgd'.
      learning_rate: a number, or a schedule of the step.
      **options: the optimizer's other arguments.

    Raises:
      ValueError: an unknown name.
    """
    makers: dict[str, Callable[..., RowOptimizer]] = {'row_adagrad': row_adagrad, 'lazy_adam': lazy_adam, 'sgd': sgd}
    if name not in makers:
        raise ValueError(f'row optimizer {name!r} does not exist; choose one of {sorted(makers)}')
    return makers[name](learning_rate, **options)
