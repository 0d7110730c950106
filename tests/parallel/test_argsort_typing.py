"""`jnp.argsort` inside `jax.shard_map`: values right, gradients silently wrong. A reproduction for upstream.

The body of `jax.shard_map` is typed: an array either varies over a mesh axis or is the same along it. The
order that `jnp.argsort` returns for keys that vary is typed as if it did not vary. What is indexed by it then
loses a sum over the axis in the transpose, without an error: an array that enters whole, and is indexed by
the order, gets the gradient of one device instead of the sum over all of them.

Seen on jax 0.9.2, 0.10.2, 0.11.2 and 0.12.0.1. `jax.lax.sort` of (keys, positions) is typed rightly, and is
what `jaxrec.ops.sorting.argsort` does. Run this file alone for a report of the version at hand:

    JAX_NUM_CPU_DEVICES=8 JAX_PLATFORMS=cpu python tests/parallel/test_argsort_typing.py

N keys of one device, n devices.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType

DEVICES, KEYS = 4, 3
Order = Callable[[jax.Array], jax.Array]


def fixed_argsort(keys: jax.Array) -> jax.Array:
    """The order of keys [N], typed as varying over the mesh axes that the keys vary over."""
    positions = jnp.arange(keys.shape[0], dtype=jnp.int32)
    axes = tuple(jax.typeof(keys).manual_axis_type.varying)
    positions = jax.lax.pcast(positions, axes, to='varying') if axes else positions
    return jax.lax.sort((keys, positions), num_keys=1, is_stable=True)[1]


def weigh(order: Order) -> tuple[np.ndarray, np.ndarray, bool]:
    """Value and gradient of sum(weights[order(keys)] * place), and whether the order is typed as varying."""
    mesh = jax.make_mesh((DEVICES,), ('x',), axis_types=(AxisType.Auto,), devices=jax.devices()[:DEVICES])
    typed = []

    def body(weights: jax.Array, keys: jax.Array) -> jax.Array:
        found = order(keys)
        typed.append('x' in jax.typeof(found).manual_axis_type.varying)
        place = 1 + jax.lax.axis_index('x').astype(jnp.float32)
        return jax.lax.psum(jnp.sum(weights[found] * place * (1 + jnp.arange(KEYS))), 'x')

    def total(weights: jax.Array, keys: jax.Array) -> jax.Array:
        specs = (jax.P(), jax.P('x'))
        return jax.shard_map(body, mesh=mesh, in_specs=specs, out_specs=jax.P())(weights, keys)

    value, gradient = jax.jit(jax.value_and_grad(total))(*inputs())
    return np.asarray(value), np.asarray(gradient), typed[0]


def inputs() -> tuple[np.ndarray, np.ndarray]:
    """Weights float32 [N], the same on all devices, and keys float32 [n N], others on each."""
    keys = np.random.default_rng(0).permutation(DEVICES * KEYS).astype(np.float32)
    return np.arange(1, KEYS + 1, dtype=np.float32), keys


def oracle() -> tuple[float, np.ndarray]:
    """The same by a loop over devices."""
    weights, keys = inputs()
    value, gradient = 0.0, np.zeros(KEYS)
    for device, own in enumerate(keys.reshape(DEVICES, KEYS)):
        for place, which in enumerate(np.argsort(own)):
            factor = (1 + device) * (1 + place)
            value += weights[which] * factor
            gradient[which] += factor
    return value, gradient


def test_the_fixed_form_has_the_right_gradient():
    from jaxrec.ops.sorting import argsort

    for order in (fixed_argsort, argsort):
        value, gradient, varying = weigh(order)
        np.testing.assert_allclose(value, oracle()[0])
        np.testing.assert_allclose(gradient, oracle()[1])
        assert varying


def test_what_jnp_argsort_does_here_is_known():
    """Passes with the defect and without it: type and gradient must be wrong or right together."""
    value, gradient, varying = weigh(jnp.argsort)
    np.testing.assert_allclose(value, oracle()[0])  # silent: the value never tells
    right = np.allclose(gradient, oracle()[1])
    assert right == varying, 'the defect has changed: look at this reproduction and at ops/sorting.py again'


def report() -> str:
    """What happens on this version, in the words of an issue."""
    value, gradient, varying = weigh(jnp.argsort)
    lines = [
        f'jax {jax.__version__}: jnp.argsort(varying keys) is typed as {"" if varying else "not "}varying',
        f'  value    {value:8.1f}, expected {oracle()[0]:8.1f}',
        f'  gradient {gradient}, expected {oracle()[1]}',
        f'  gradient with lax.sort((keys, positions)): {weigh(fixed_argsort)[1]}',
    ]
    return '\n'.join(lines)


if __name__ == '__main__':
    print(report())
