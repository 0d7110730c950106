"""DIEN's auxiliary loss against a loop over pairs, value and gradient, and on pairs worked out by hand."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from jaxrec.ops.histories.auxiliary import STEPS, next_behaviour_loss, pair_loss
from jaxrec.ops.histories.pooling import length_mask
from jaxrec.parallel import make_mesh
from tests.oracles import auxiliary as oracle

H, D = 3, 4


def make_case(length=7, seed=0):
    """(arrays, layers) for lengths of every kind; padding holds what only the mask hides."""
    rng, lengths = np.random.default_rng(seed), np.array([length, 0, 1, 2, length - 1, 3, 2, length])
    draw = lambda *shape: rng.normal(size=shape).astype(np.float32)
    arrays = [draw(8, length, size) for size in (H, D, D)]
    sizes = (H + D, 6, 5, 1)
    layers = [(draw(i, o), 0.3 * draw(o)) for i, o in itertools.pairwise(sizes)]
    return arrays, np.array(length_mask(lengths, length)), layers


@pytest.mark.parametrize('length', [2, STEPS, STEPS + 1, STEPS + 2, 3 * STEPS])
def test_value_and_gradient_are_the_loop_s(length):
    arrays, mask, layers = make_case(length)
    mask[4] = 0  # an example that does not count, though it has a history
    run = jax.jit(jax.value_and_grad(lambda *a: next_behaviour_loss(*a[:3], mask, a[3]), (0, 1, 2, 3)))
    value, of = run(*arrays, layers)
    want, of_want = oracle.next_behaviour_loss(*arrays, mask, layers)
    np.testing.assert_allclose(value, want, rtol=1e-5)
    for ours, theirs in zip(jax.tree.leaves(of), jax.tree.leaves(of_want), strict=True):
        assert np.abs(theirs).max() > 1e-3
        np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=1e-6)


def test_the_oracle_s_gradient_is_the_slope_of_its_value():
    arrays, mask, layers = make_case()
    leaves, tree = jax.tree.flatten((arrays, layers))
    leaves, rng = [x.astype(np.float64) for x in leaves], np.random.default_rng(1)

    def value(leaves):
        arrays, layers = jax.tree.unflatten(tree, leaves)
        return oracle.next_behaviour_loss(*arrays, mask, layers)

    of = jax.tree.leaves(value(leaves)[1])
    way = [rng.normal(size=x.shape) for x in leaves]
    ends = [value([x + eps * w for x, w in zip(leaves, way, strict=True)])[0] for eps in (1e-6, -1e-6)]
    slope = sum((g * w).sum() for g, w in zip(of, way, strict=True))
    np.testing.assert_allclose(slope, (ends[0] - ends[1]) / 2e-6, rtol=1e-6)


def test_a_pair_by_hand():
    # sigmoid(log 3) = 3/4, sigmoid(-log 3) = 1/4, sigmoid(0) = 1/2.
    clicked, other = np.log(np.array([[3.0, 1.0, 1 / 3], [1.0, 3.0, 1 / 3]], np.float32))
    np.testing.assert_allclose(pair_loss(clicked, other), np.log([8 / 3, 8, 16 / 3]), rtol=1e-6)
    of_clicked, of_other = jax.grad(lambda c, o: pair_loss(c, o).sum(), (0, 1))(jnp.asarray(clicked), other)
    np.testing.assert_allclose(of_clicked, [-0.25, -0.5, -0.75], rtol=1e-5)
    np.testing.assert_allclose(of_other, [0.5, 0.75, 0.25], rtol=1e-5)


def test_extreme_logits_stay_finite():
    extreme = jnp.array([1e30, -1e30])
    value, grad = jax.value_and_grad(lambda x: pair_loss(x, x).sum())(extreme)
    assert np.isfinite(value) and np.isfinite(grad).all()


@pytest.mark.parametrize('length', [1, 7])
def test_no_pair_is_no_loss(length):
    arrays, mask, layers = make_case(7)
    arrays, mask = [x[:, :length] for x in arrays], np.zeros((8, length), np.float32)
    value, grad = jax.value_and_grad(next_behaviour_loss)(*map(jnp.asarray, arrays), mask, layers)
    assert value == 0 and not np.asarray(grad).any()


@pytest.mark.parametrize('axis_type', [AxisType.Auto, AxisType.Explicit])
def test_a_batch_cut_over_a_mesh_is_summed_once(axis_type):
    mesh = make_mesh((2, 2), axis_type=axis_type)
    arrays, mask, layers = make_case()
    want = next_behaviour_loss(*map(jnp.asarray, arrays), mask, layers)
    with jax.set_mesh(mesh):
        sent = jax.device_put((*arrays, mask), jax.NamedSharding(mesh, jax.P(('data', 'model'))))
        compiled = jax.jit(jax.value_and_grad(next_behaviour_loss)).lower(*sent, layers).compile()
        value, grad = compiled(*sent, layers)
    np.testing.assert_allclose(value, want, rtol=1e-5)
    assert {shard.data.shape for shard in grad.addressable_shards} == {(2, 7, H)}
    assert 'all-gather' not in compiled.as_text() and 'all-to-all' not in compiled.as_text()
