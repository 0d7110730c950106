"""A batch in chunks against the whole batch: values, order, and how it is cut."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from jaxrec.ops import chunks as ops
from jaxrec.parallel import make_mesh


def double(x, y):
    return {'sum': x + y[:, None], 'rows': 2 * x[..., None]}


@pytest.mark.parametrize('limit', [1, 100, 1 << 20])
def test_every_chunk_lands_where_it_came_from(limit):
    x, y = jnp.arange(36.0).reshape(12, 3), jnp.arange(12.0)
    run = lambda x, y: ops.by_chunks(double, x, y, bytes_each=24, limit=limit)
    jax.tree.map(np.testing.assert_array_equal, jax.jit(run)(x, y), double(x, y))


@pytest.mark.parametrize(
    ('batch', 'bytes_each', 'sizes'),
    [
        (12, 8, (12, 1)),
        (12, 0, (12, 1)),
        (12, 10, (6, 2)),
        (12, 20, (4, 3)),
        (12, 41, (2, 6)),
        (12, 999, (1, 12)),
        (1024, 6, (16, 64)),
        (1000, 6, (10, 100)),
        # No such number divides these.
        (7, 50, (2, 4)),
        (11, 30, (3, 4)),
        (1009, 6, (16, 64)),
        (1009, 50, (2, 505)),
        (1009, 999, (1, 1009)),
    ],
)
def test_chunks_fit_and_hardly_exceed_the_batch(batch, bytes_each, sizes):
    size, number = sizes
    assert ops.chunk_sizes(batch, bytes_each, 100) == sizes
    assert (size - 1) * number < batch <= size * number and (size == 1 or size * bytes_each <= 100)


def test_a_prime_number_of_examples_takes_few_chunks():
    x, y = jnp.sqrt(jnp.arange(3 * 101.0).reshape(101, 3)), jnp.arange(101.0)
    length = lambda x, y: jnp.sqrt((x * x).sum(-1)) + y
    run = lambda x, y: ops.by_chunks(length, x, y, bytes_each=10, limit=100)
    np.testing.assert_allclose(jax.jit(run)(x, y), length(x, y), rtol=1e-6)
    assert '[10,11,3]' in str(jax.make_jaxpr(run)(x, y))


@pytest.mark.parametrize('axis_type', [AxisType.Auto, AxisType.Explicit])
# Of each device one of 2, one of 7 and 3 of 7 examples a chunk; the last chunk is filled up with 2.
@pytest.mark.parametrize(('limit', 'batch'), [(24, 16), (24, 56), (24 * 8 * 3, 56)])
def test_a_batch_cut_over_devices_stays_cut(limit, batch, axis_type, eight_devices):
    x, y = jnp.arange(3.0 * batch).reshape(batch, 3), jnp.arange(1.0 * batch)
    mesh = make_mesh((4, 2), axis_type=axis_type)
    sent = jax.device_put((x, y), jax.NamedSharding(mesh, jax.P(('data', 'model'))))

    run = jax.jit(lambda x, y: ops.by_chunks(double, x, y, bytes_each=24, limit=limit))
    compiled = run.lower(*sent).compile()
    assert 'while' in compiled.as_text() and 'all-' not in compiled.as_text()
    found = compiled(*sent)
    assert {shard.data.shape for shard in found['sum'].addressable_shards} == {(batch // 8, 3)}
    jax.tree.map(np.testing.assert_array_equal, found, double(x, y))


def test_accelerators_take_the_batch_whole():
    run = jax.jit(lambda x, y: ops.by_chunks(double, x, y, bytes_each=24, limit=100))
    traced = run.trace(*(jax.ShapeDtypeStruct(s, jnp.float32) for s in ((12, 3), (12,))))
    loops = {p: 'while' in traced.lower(lowering_platforms=(p,)).as_text() for p in ('cpu', 'cuda', 'tpu')}
    assert loops == {'cpu': True, 'cuda': False, 'tpu': False}
