"""Feature interactions against loops over pairs: value, gradient, identities between them, and meshes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from jaxrec.ops import interactions as ops
from jaxrec.ops.co_action import co_action
from jaxrec.parallel import make_mesh
from tests.conftest import slow_but_for
from tests.oracles import interactions as oracle

# Fields of request and candidate: odd and even in all, and sides with one field or none.
SIDES = [(2, 2), (3, 2), (0, 2), (1, 1)]
PLAIN = ['pairwise_inner', 'fm_second_order', 'outer_product']
CIN = {'all maps': ((3, 2), False), 'split': ((4, 2, 3), True), 'one layer': ((2,), False)}


def draw(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


def make_fields(request, candidate, aware=False, batch=2, candidates=2, dim=3):
    own = (request + candidate,) if aware else ()
    return draw((batch, request, *own, dim), (batch, candidates, candidate, *own, dim))


def check(op, slow, arguments):
    """Value and gradient of every argument, compiled together."""

    def run(upstream, *arguments):
        value, pull = jax.vjp(op, *arguments)
        return value, pull(upstream)

    want = slow(*arguments)
    upstream = draw(want.shape, seed=1)[0]
    value, grads = jax.jit(run)(upstream, *arguments)
    assert np.abs(want).max() > 0.1
    np.testing.assert_allclose(value, want, rtol=1e-4, atol=1e-4)
    for got, slope in zip(grads, oracle.gradients(slow, arguments, upstream), strict=True):
        np.testing.assert_allclose(got, slope, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize('sides', SIDES)
@pytest.mark.parametrize('name', PLAIN)
def test_products_are_the_loop_over_pairs(name, sides):
    check(getattr(ops, name), getattr(oracle, name), make_fields(*sides))


@pytest.mark.parametrize('sides', SIDES)
def test_field_aware_products_are_the_loop_over_pairs(sides):
    request, candidate = make_fields(*sides, aware=True)
    check(ops.field_aware_inner, oracle.field_aware_inner, (request, candidate))
    for i in range(sides[0]):  # a field's vector for itself is not read
        request[:, i, i] = np.nan
    for i in range(sides[1]):
        candidate[:, :, i, sides[0] + i] = np.nan
    assert np.isfinite(ops.field_aware_inner(jnp.asarray(request), jnp.asarray(candidate))).all()


@pytest.mark.parametrize('name', CIN)
def test_compressed_interaction_is_the_loop_over_maps_and_fields(name):
    widths, split = CIN[name]
    shapes = ops.cin_shapes(3, widths, split)
    arguments = [*make_fields(2, 1, dim=2), *draw(*shapes, seed=2)]
    op = lambda request, candidate, *kernels: ops.cin(request, candidate, kernels, split)
    check(op, functools.partial(oracle.cin, split=split), arguments)


def test_a_compressed_layer_by_hand():
    base = jnp.array([[[1.0, 2.0], [3.0, -1.0]]])  # D = 2 numbers of F = 2 fields
    kernel = jnp.zeros((2, 2, 2)).at[0, 1, 0].set(1.0).at[0, 0, 1].set(2.0).at[1, 1, 1].set(-1.0)
    # Map 0 is field 0 * field 1; map 1 is twice field 0 squared, less field 1 squared.
    np.testing.assert_allclose(ops.cin_layer(base, base, kernel), [[[2.0, -2.0], [-3.0, 17.0]]], rtol=1e-6)
    request, candidate = base.swapaxes(1, 2)[:, :1], base.swapaxes(1, 2)[:, None, 1:]
    np.testing.assert_allclose(ops.cin(request, candidate, [kernel]), [[[-1.0, 15.0]]], rtol=1e-6)


def test_kernels_fit_the_maps_they_read():
    assert ops.cin_shapes(5, (8, 6)) == [(5, 5, 8), (8, 5, 6)]
    assert ops.cin_shapes(5, (8, 6, 3), split=True) == [(5, 5, 8), (4, 5, 6), (3, 5, 3)]


@pytest.mark.parametrize('sides', SIDES)
def test_pairs_sum_to_the_second_order_term(sides):
    """The square-of-sum identity, FFM with one vector for all, and CIN with the kernel of all pairs."""
    request, candidate = map(jnp.asarray, make_fields(*sides))
    count = sum(sides)
    want = ops.fm_second_order(request, candidate)
    np.testing.assert_allclose(ops.pairwise_inner(request, candidate).sum(-1), want, rtol=1e-4, atol=1e-4)
    alike = lambda x: jnp.repeat(x[..., None, :], count, -2)
    aware = ops.field_aware_inner(alike(request), alike(candidate))
    np.testing.assert_allclose(aware, ops.pairwise_inner(request, candidate), rtol=1e-4, atol=1e-4)
    above = jnp.triu(jnp.ones((count, count)), 1)[..., None]
    np.testing.assert_allclose(ops.cin(request, candidate, [above])[..., 0], want, rtol=1e-4, atol=1e-4)


def test_the_trace_of_the_outer_product_is_the_square_of_the_sum():
    request, candidate = map(jnp.asarray, make_fields(2, 1))
    product = ops.outer_product(request, candidate).reshape(2, 2, 3, 3)
    squares = (request**2).sum((1, 2))[:, None] + (candidate**2).sum((2, 3))
    want = squares + 2 * ops.fm_second_order(request, candidate)
    np.testing.assert_allclose(jnp.trace(product, axis1=2, axis2=3), want, rtol=1e-4)


def test_candidate_and_pooled_history_meet_as_in_the_co_action_unit():
    rng = np.random.default_rng(3)
    candidate, history = (jnp.asarray(rng.normal(size=s), jnp.float32) for s in ((4, 2, 6), (4, 5, 6)))
    mask = jnp.asarray(rng.integers(0, 2, (4, 5)), jnp.float32)
    unit = co_action(candidate, history, mask, dims=(6, 1), orders=1)
    pooled = jnp.einsum('bld,bl->bd', history, mask)
    got = ops.pairwise_inner(pooled[:, None], candidate[:, :, None])
    np.testing.assert_allclose(got, unit, rtol=1e-4, atol=1e-4)


def test_an_absent_field_crosses_with_nothing():
    request, candidate = make_fields(2, 2)
    request[0, 1] = 0  # an empty history, or a padding row
    order = oracle.pairs(2, 2)
    got = np.asarray(ops.pairwise_inner(jnp.asarray(request), jnp.asarray(candidate)))
    touched = np.array([1 in pair for pair in order])
    assert not got[0][:, touched].any() and got[0][:, ~touched].all() and got[1].all()


@pytest.mark.parametrize('axis_type', slow_but_for((AxisType.Auto,), (AxisType.Auto, AxisType.Explicit)))
def test_a_batch_cut_over_a_mesh_stays_cut(axis_type):
    mesh = make_mesh((2, 2), axis_type=axis_type)
    plain, aware = make_fields(2, 1, batch=8), make_fields(2, 1, aware=True, batch=8)
    kernels = draw(*ops.cin_shapes(3, (3, 2)))

    def loss(plain, aware, kernels):
        values = [getattr(ops, name)(*plain) for name in PLAIN]
        values += [ops.field_aware_inner(*aware), ops.cin(*plain, kernels)]
        return sum((x**2).sum() for x in values)

    with jax.set_mesh(mesh):
        place = lambda x: jax.device_put(x, jax.NamedSharding(mesh, jax.P(('data', 'model'))))
        sent = (*jax.tree.map(place, (plain, aware)), kernels)
        compiled = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(*sent).compile()
        got = compiled(*sent)
    want = jax.grad(loss, argnums=(0, 1))(*jax.tree.map(jnp.asarray, (plain, aware, kernels)))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-3, atol=1e-3), got, want)
    assert all(shard.data.shape[0] == 2 for x in jax.tree.leaves(got) for shard in x.addressable_shards)
    assert 'all-' not in compiled.as_text()


@pytest.mark.parametrize(
    ('widths', 'split', 'message'),
    [
        ((), False, r'cin = \(\): give at least one layer'),
        ((8, 0), False, r'cin = \(8, 0\): give .* each of 1 or more'),
        ((5, 4), True, r'cin = \(5, 4\): 5 feature maps cannot be split in halves; give even widths'),
    ],
)
def test_widths_that_make_no_network_are_refused(widths, split, message):
    with pytest.raises(ValueError, match=message):
        ops.cin_shapes(3, widths, split)
