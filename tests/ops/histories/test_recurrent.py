"""GRU and AUGRU against a loop over examples, candidates and behaviours: value and gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from jaxrec.ops.histories.pooling import length_mask
from jaxrec.ops.histories.recurrent import augru, gru
from jaxrec.parallel import make_mesh
from tests.oracles import recurrent as oracle

LENGTHS = np.array([5, 0, 3, 1], np.int32)
D, H = 3, 4


def make_case(candidates=3, length=5, seed=0):
    """(inputs, attention, mask, weights); behind a history's length stands what only the mask hides."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(len(LENGTHS), length, D))
    attention = rng.uniform(size=(len(LENGTHS), candidates, length))
    weights = [0.7 * rng.normal(size=shape) for shape in ((3, D, H), (3, H, H), (3, H))]
    inputs, attention, *weights = (x.astype(np.float32) for x in (inputs, attention, *weights))
    return inputs, attention, np.asarray(length_mask(LENGTHS, length)), weights


def check(got, want):
    for ours, theirs in zip(got, want, strict=True):
        assert np.abs(theirs).max() > 0.03
        np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=1e-5)


def test_gru_is_the_loop():
    inputs, _, mask, weights = make_case()
    upstream = np.random.default_rng(1).normal(size=(4, 5, H)).astype(np.float32)

    @jax.jit
    def run(upstream, inputs, *weights):
        value, pull = jax.vjp(lambda x, *w: gru(x, mask, *w), inputs, *weights)
        return value, pull(upstream)

    value, of = run(upstream, inputs, *weights)
    full = np.ones((4, 1, 5))
    check([value], [oracle.states(inputs, full, LENGTHS, *weights)[:, 0]])
    of_inputs, _, *of_weights = oracle.gradients(inputs, full, LENGTHS, *weights, upstream[:, None])
    check(of, [of_inputs, *of_weights])
    assert not np.asarray(of[0])[mask == 0].any()


@pytest.mark.parametrize('candidates', [1, 3])
def test_augru_is_the_loop(candidates):
    inputs, attention, mask, weights = make_case(candidates)
    upstream = np.random.default_rng(1).normal(size=(4, candidates, H)).astype(np.float32)

    @jax.jit
    def run(upstream, inputs, attention, *weights):
        value, pull = jax.vjp(lambda x, a, *w: augru(x, a, mask, *w), inputs, attention, *weights)
        return value, pull(upstream)

    value, of = run(upstream, inputs, attention, *weights)
    check([value], [oracle.states(inputs, attention, LENGTHS, *weights)[:, :, -1]])
    at_the_end = np.zeros((4, candidates, 5, H))
    at_the_end[:, :, -1] = upstream
    check(of, oracle.gradients(inputs, attention, LENGTHS, *weights, at_the_end))
    assert not np.asarray(value)[1].any()  # an empty history
    assert not np.asarray(of[0])[mask == 0].any()
    assert not np.asarray(of[1])[np.broadcast_to(mask[:, None], attention.shape) == 0].any()


def test_the_oracle_s_gradient_is_the_slope_of_its_value():
    inputs, attention, _, weights = make_case()
    arguments = [x.astype(np.float64) for x in (inputs, attention, *weights)]
    rng = np.random.default_rng(2)
    upstream = rng.normal(size=(4, 3, 5, H))
    value = lambda x, a, *w: (oracle.states(x, a, LENGTHS, *w) * upstream).sum()
    of = oracle.gradients(arguments[0], arguments[1], LENGTHS, *arguments[2:], upstream)
    for place, gradient in enumerate(of):
        direction, ends = rng.normal(size=gradient.shape), []
        for eps in (1e-6, -1e-6):
            moved = [x + eps * direction if n == place else x for n, x in enumerate(arguments)]
            ends.append(value(*moved))
        np.testing.assert_allclose((gradient * direction).sum(), (ends[0] - ends[1]) / 2e-6, rtol=1e-6)


def test_the_state_holds_still_on_padding():
    inputs, _, mask, weights = make_case()
    states = np.asarray(gru(inputs, mask, *weights))
    for b, length in enumerate(LENGTHS):
        last = states[b, length - 1] if length else np.zeros(H)
        np.testing.assert_array_equal(states[b, length:], np.tile(last, (5 - length, 1)))
    longer = np.pad(inputs, ((0, 0), (0, 3), (0, 0)), constant_values=7.0)
    np.testing.assert_allclose(gru(longer, np.pad(mask, ((0, 0), (0, 3))), *weights)[:, -1], states[:, -1])


def test_attention_is_how_far_the_state_moves():
    inputs, attention, mask, weights = make_case()
    full = gru(inputs, mask, *weights)[:, -1]
    got = augru(inputs, np.ones_like(attention), mask, *weights)
    np.testing.assert_allclose(got, np.stack([full] * 3, 1), rtol=1e-5, atol=1e-6)
    assert not np.asarray(augru(inputs, np.zeros_like(attention), mask, *weights)).any()


def test_candidates_do_not_mix():
    inputs, attention, mask, weights = make_case()
    apart = [augru(inputs, attention[:, c : c + 1], mask, *weights) for c in range(3)]
    together = augru(inputs, attention, mask, *weights)
    np.testing.assert_allclose(together, jnp.concatenate(apart, 1), rtol=1e-5, atol=1e-6)


def test_no_history_at_all_is_a_state_of_zeros():
    inputs, attention, mask, weights = make_case()
    assert gru(inputs[:, :0], mask[:, :0], *weights).shape == (4, 0, H)
    got = augru(inputs[:, :0], attention[:, :, :0], mask[:, :0], *weights)
    assert got.shape == (4, 3, H) and not np.asarray(got).any()


@pytest.mark.parametrize('axis_type', [AxisType.Auto, AxisType.Explicit])
def test_a_batch_cut_over_a_mesh_stays_cut(axis_type):
    mesh = make_mesh((2, 2), axis_type=axis_type)
    inputs, attention, mask, weights = make_case()

    def loss(inputs, attention, mask, weights):
        states = gru(inputs, mask, *weights)
        return (augru(states[..., :D], attention, mask, *weights) ** 2).sum()

    want = jax.grad(loss)(jnp.asarray(inputs), jnp.asarray(attention), jnp.asarray(mask), weights)
    with jax.set_mesh(mesh):
        by_example = jax.NamedSharding(mesh, jax.P(('data', 'model')))
        sent = jax.device_put((inputs, attention, mask), by_example)
        compiled = jax.jit(jax.grad(loss)).lower(*sent, weights).compile()
        got = compiled(*sent, weights)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
    assert {shard.data.shape for shard in got.addressable_shards} == {(1, *inputs.shape[1:])}
    assert 'all-' not in compiled.as_text()


@pytest.mark.parametrize(
    'change',
    [
        lambda x, a, m, w: (x, a[..., :-1], m, *w),
        lambda x, a, m, w: (x[..., :-1], a, m, *w),
        lambda x, a, m, w: (x, a, m[:1], *w),
        lambda x, a, m, w: (x, a[0], m, *w),
        lambda x, a, m, w: (x, a, m, w[0], w[1][:2], w[2]),
    ],
)
def test_arrays_that_do_not_fit_are_refused(change):
    with pytest.raises(AssertionError, match='shape'):
        augru(*change(*make_case()))
