"""A batch in chunks against the whole batch: values, order, and how it is cut."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.ops import chunks as ops
from jaxrec.parallel import make_mesh


def double(x, y):
    return {'sum': x + y[:, None], 'rows': 2 * x[..., None]}


@pytest.mark.parametrize('trained', [False, True])
@pytest.mark.parametrize('limit', [1, 100, 1 << 20])
def test_every_chunk_lands_where_it_came_from(limit, trained):
    x, y = jnp.arange(36.0).reshape(12, 3), jnp.arange(12.0)
    run = lambda x, y: ops.by_chunks(double, x, y, bytes_each=24, limit=limit, trained=trained)
    jax.tree.map(np.testing.assert_array_equal, jax.jit(run)(x, y), double(x, y))


@pytest.mark.parametrize('limit', [1, 100, 1 << 20])
def test_gradients_reach_the_arrays_and_what_the_function_closes_over(limit):
    def total(x, y, weight):
        run = lambda x, y: {'out': jnp.sin(x * y[:, None]) @ weight}
        return jnp.square(ops.by_chunks(run, x, y, bytes_each=24, limit=limit, trained=True)['out']).sum()

    arguments = jnp.arange(36.0).reshape(12, 3) / 9, jnp.arange(12.0), jnp.arange(6.0).reshape(3, 2)
    whole = lambda x, y, weight: jnp.square(jnp.sin(x * y[:, None]) @ weight).sum()
    got = jax.jit(jax.grad(total, argnums=(0, 1, 2)))(*arguments)
    want = jax.grad(whole, argnums=(0, 1, 2))(*arguments)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-4), got, want)


@pytest.mark.parametrize(
    ('batch', 'bytes_each', 'number'), [(12, 10, 2), (12, 20, 3), (12, 41, 6), (12, 999, 12), (7, 50, 7)]
)
def test_chunks_divide_the_batch_and_fit(batch, bytes_each, number):
    assert ops.number_of_chunks(batch, bytes_each, 100) == number


def test_a_batch_cut_over_devices_stays_cut(eight_devices):
    x, y = jnp.arange(96.0).reshape(32, 3), jnp.arange(32.0)
    by_example = jax.NamedSharding(make_mesh((4, 2)), jax.P(('data', 'model')))
    doubled = jax.jit(lambda x, y: ops.by_chunks(double, x, y, bytes_each=24, limit=200))
    compiled = doubled.lower(*jax.device_put((x, y), by_example)).compile()
    assert 'all-' not in compiled.as_text()
    got = compiled(*jax.device_put((x, y), by_example))
    jax.tree.map(np.testing.assert_array_equal, got, double(x, y))


def test_accelerators_take_the_batch_whole():
    run = jax.jit(lambda x, y: ops.by_chunks(double, x, y, bytes_each=24, limit=100))
    traced = run.trace(*(jax.ShapeDtypeStruct(s, jnp.float32) for s in ((12, 3), (12,))))
    loops = {p: 'while' in traced.lower(lowering_platforms=(p,)).as_text() for p in ('cpu', 'cuda', 'tpu')}
    assert loops == {'cpu': True, 'cuda': False, 'tpu': False}
