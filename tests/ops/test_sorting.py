"""argsort keeps its mesh axes: stable, and differentiable through what it indexes in `jax.shard_map`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from jaxrec.ops.sorting import argsort, vary_like
from jaxrec.parallel import make_mesh

AXES = ('data', 'model')


def test_it_is_numpys_stable_argsort():
    rng = np.random.default_rng(0)
    for keys in (rng.integers(0, 5, 40), rng.normal(size=40), np.zeros(9, np.int32), np.zeros(0, np.int32)):
        order = argsort(jnp.asarray(keys, jnp.float32 if keys.dtype == float else jnp.int32))
        np.testing.assert_array_equal(order, np.argsort(keys.astype(np.float32), kind='stable'))
        assert order.dtype == jnp.int32


def test_outside_shard_map_nothing_changes():
    x = jnp.arange(3.0)
    assert vary_like(x, x) is x
    keys, weights = jnp.array([3, 1, 2]), jnp.array([1.0, 10.0, 100.0])
    grad = jax.grad(lambda x: (x[argsort(keys)] * weights).sum())(x)
    np.testing.assert_array_equal(grad, [100.0, 1.0, 10.0])  # keys[1] is the least


@pytest.mark.parametrize('axis_type', [AxisType.Auto, AxisType.Explicit])
@pytest.mark.parametrize('shape', [(8, 1), (2, 4)])
def test_the_gradient_of_what_it_indexes_is_the_dense_one(shape, axis_type):
    mesh, rng = make_mesh(shape, axis_type=axis_type), np.random.default_rng(1)
    keys = rng.permuted(np.tile(np.arange(6), (8, 1)), axis=1).astype(np.int32)  # every device has its own order
    x, ramp = rng.normal(size=(6, 3)).astype(np.float32), np.arange(1.0, 7.0, dtype=np.float32)[:, None]

    def dense(x):
        return sum((jnp.sin(x)[np.argsort(k)] * ramp).sum() ** 2 for k in keys)

    def body(x, keys):
        mine = (jnp.sin(x)[argsort(keys)] * ramp).sum() ** 2
        return jax.lax.psum(vary_like(mine, keys), AXES)

    with jax.set_mesh(mesh):
        cut = jax.shard_map(body, mesh=mesh, in_specs=(jax.P(), jax.P(AXES)), out_specs=jax.P())
        by_device = jax.device_put(keys.reshape(-1), jax.NamedSharding(mesh, jax.P(AXES)))
        whole = jax.device_put(x, jax.NamedSharding(mesh, jax.P()))
        value, grad = jax.jit(jax.value_and_grad(cut))(whole, by_device)
    np.testing.assert_allclose(value, dense(x), rtol=1e-5)
    np.testing.assert_allclose(grad, jax.grad(dense)(jnp.asarray(x)), rtol=1e-4, atol=1e-4)
