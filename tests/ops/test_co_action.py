"""The co-action unit against a loop over examples, candidates, behaviours and orders: value and gradient."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from jaxrec.models.can.model import PRESETS
from jaxrec.ops.co_action import CHUNK, co_action, co_action_single, output_width, split_weights, weight_width
from jaxrec.ops.histories.pooling import length_mask
from jaxrec.parallel import make_mesh
from tests.conftest import slow_cases_but_for
from tests.oracles import co_action as oracle

BASE = {'dims': (4, 3, 2), 'orders': 3, 'pooling': 'sum', **PRESETS['wsdm22_code']}
PAPER = {**BASE, **PRESETS['wsdm22_paper']}
V1 = {'dims': (4, 4, 4), 'orders': 2, 'use_bias': True, 'layer_output': 'last', 'order_reduce': 'sum'}
CASES = {
    'wsdm22_code': BASE,
    'wsdm22_paper': PAPER,
    'code at the published sizes': {**BASE, 'dims': (16, 8, 4)},
    'paper with the biases of its equations': {**PAPER, 'dims': (16, 8, 4), 'use_bias': True},
    'last layer, biases, orders summed': {**BASE, **V1},
    'last layer, orders kept apart': {**BASE, 'layer_output': 'last'},
    'mean over the history': {**BASE, 'pooling': 'mean', 'orders': 2, 'use_bias': True},
    'three layers, one order': {**PAPER, 'dims': (4, 3, 2, 2), 'orders': 1, 'order_reduce': 'concat'},
    'one layer': {**BASE, 'dims': (4, 3)},
    'no activation': {**BASE, 'activation': 'none', 'use_bias': True},
    'tanh at the end alone': {**PAPER, 'activation': 'none', 'pooling': 'mean'},
    'a network an order': {**BASE, 'order_independence': True},
    'a network an order, summed, with biases': {**PAPER, 'order_independence': True, 'use_bias': True},
}
LENGTHS = np.array([5, 0, 3, 1], np.int32)


def make_case(options, candidates=3, length=5, seed=0):
    """Rows of a batch; what lies behind a history's length is not zero, so that only the mask hides it."""
    rng = np.random.default_rng(seed)
    width = weight_width(options['dims'], options['use_bias'])
    width *= options['orders'] if options.get('order_independence') else 1
    weights = rng.normal(size=(len(LENGTHS), candidates, width)) * 0.5
    inputs = rng.normal(size=(len(LENGTHS), length, options['dims'][0]))
    return weights.astype(np.float32), inputs.astype(np.float32), np.asarray(length_mask(LENGTHS, length))


@pytest.mark.parametrize('name', CASES)
def test_value_and_gradient_are_the_loops(name):
    options = CASES[name]
    weights, inputs, mask = make_case(options)
    kept = [options[k] for k in ('dims', 'orders', 'layer_output', 'order_reduce')]
    upstream = np.random.default_rng(1).normal(size=(4, 3, output_width(*kept))).astype(np.float32)

    @jax.jit
    def run(weights, inputs, upstream):
        value, pull = jax.vjp(lambda w, x: co_action(w, x, mask, **options), weights, inputs)
        return value, *pull(upstream)

    got = run(weights, inputs, upstream)
    want = oracle.co_action(weights, inputs, LENGTHS, upstream=upstream, **options)
    for ours, theirs in zip(got, want, strict=True):
        assert np.abs(theirs).max() > 0.1
        np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=2e-4)
    value, of_weights, of_inputs = map(np.asarray, got)
    assert not value[1].any() and not of_weights[1].any()  # an empty history says nothing
    assert not of_inputs[mask == 0].any()


CHUNKED = slow_cases_but_for(
    (
        (CHUNK + 1, 'wsdm22_code'), (CHUNK + 1, 'mean over the history'), (2 * CHUNK, 'wsdm22_code'),
        (2 * CHUNK, 'a network an order'), (2 * CHUNK + 7, 'code at the published sizes'),
        (2 * CHUNK + 7, 'mean over the history'),
    ),
    [
        (length, name)
        for length in (CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 7)
        for name in (
            'wsdm22_code', 'code at the published sizes', 'mean over the history', 'a network an order'
        )
    ],
)  # fmt: skip


@pytest.mark.parametrize(('length', 'name'), CHUNKED)
def test_a_history_of_chunks_is_the_loop_whether_or_not_a_gradient_is_asked_for(length, name):
    options, lengths = CASES[name], np.array([length, 0, CHUNK + 1, 1], np.int32)
    weights, inputs, _ = make_case(options, length=length)
    unit = lambda w, x: co_action(w, x, length_mask(lengths, length), **options)
    kept = [options[k] for k in ('dims', 'orders', 'layer_output', 'order_reduce')]
    upstream = np.random.default_rng(1).normal(size=(4, 3, output_width(*kept))).astype(np.float32)
    want = oracle.co_action(weights, inputs, lengths, upstream=upstream, **options)
    np.testing.assert_allclose(jax.jit(unit)(weights, inputs), want[0], rtol=2e-4, atol=2e-4)
    value, pull = jax.jit(functools.partial(jax.vjp, unit))(weights, inputs)
    for ours, theirs in zip((value, *pull(upstream)), want, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=5e-4, atol=5e-4)


@pytest.mark.parametrize('name', ['wsdm22_code', 'mean over the history', 'no activation',
                                  'a network an order, summed, with biases'])  # fmt: skip
def test_one_id_a_candidate_is_a_history_of_one(name):
    options = CASES[name]
    weights, _, _ = make_case(options)
    rng = np.random.default_rng(5)
    inputs = rng.normal(size=(4, 3, 4)).astype(np.float32)
    present = np.array([[1, 1, 0], [0, 1, 1], [1, 0, 1], [0, 0, 0]], np.float32)
    kept = [options[k] for k in ('dims', 'orders', 'layer_output', 'order_reduce')]
    upstream = rng.normal(size=(4, 3, output_width(*kept))).astype(np.float32)

    @jax.jit
    def run(weights, inputs, upstream):
        value, pull = jax.vjp(lambda w, x: co_action_single(w, x, present, **options), weights, inputs)
        return value, *pull(upstream)

    got = run(weights, inputs, upstream)
    # Each (example, candidate) is an example of its own, whose history is one id or none.
    alone = lambda x: x.reshape(12, 1, -1)
    want = oracle.co_action(
        alone(weights), alone(inputs), present.reshape(-1).astype(int), upstream=alone(upstream), **options
    )
    for ours, theirs in zip(got, want, strict=True):
        assert np.abs(theirs).max() > 0.1
        np.testing.assert_allclose(alone(np.asarray(ours)), theirs, rtol=2e-4, atol=2e-4)
        assert not np.asarray(ours)[present == 0].any()  # an absent id says nothing, biases or not


def test_an_order_s_network_is_its_own():
    options = {**BASE, 'order_independence': True}  # orders are concatenated: each has a slice of the output
    weights, inputs, mask = make_case(options)
    out = output_width(options['dims'], 1, 'concat', 'concat')
    slope = jax.jit(jax.jacrev(lambda w: co_action(w, inputs, mask, **options).sum((0, 1))))(weights)
    by_order = np.abs(slope).reshape(3, out, *weights.shape[:2], 3, 18).sum((1, 2, 3, 5))  # [output, slice]
    assert (by_order.diagonal() > 0.1).all() and not by_order[~np.eye(3, dtype=bool)].any()
    # Three equal networks are the shared one.
    shared = co_action(weights[..., :18], inputs, mask, **BASE)
    tripled = co_action(np.tile(weights[..., :18], 3), inputs, mask, **options)
    np.testing.assert_allclose(shared, tripled, rtol=1e-5, atol=1e-6)


def test_the_oracle_s_gradient_is_the_slope_of_its_value():
    options = {**PAPER, 'use_bias': True}
    weights, inputs, _ = (x.astype(np.float64) for x in make_case(options))
    rng = np.random.default_rng(2)
    upstream = rng.normal(size=(4, 3, 5))
    value = lambda w, x: (oracle.co_action(w, x, LENGTHS, **options) * upstream).sum()
    _, of_weights, of_inputs = oracle.co_action(weights, inputs, LENGTHS, upstream=upstream, **options)
    for _ in range(3):
        dw, dx = rng.normal(size=weights.shape), rng.normal(size=inputs.shape)
        eps = 1e-6
        slope = (value(weights + eps * dw, inputs + eps * dx) - value(weights - eps * dw, inputs - eps * dx)) / (
            2 * eps
        )
        np.testing.assert_allclose((of_weights * dw).sum() + (of_inputs * dx).sum(), slope, rtol=1e-6)


def test_candidates_and_padding_do_not_mix():
    weights, inputs, mask = make_case(BASE)
    unit = functools.partial(co_action, **BASE)
    together = unit(weights, inputs, mask)
    apart = [unit(weights[:, c : c + 1], inputs, mask) for c in range(3)]
    np.testing.assert_allclose(together, jnp.concatenate(apart, 1), rtol=1e-5, atol=1e-6)
    longer, wider = (np.pad(inputs, ((0, 0), (0, 3), (0, 0)), constant_values=7.0), np.pad(mask, ((0, 0), (0, 3))))
    np.testing.assert_allclose(together, unit(weights, longer, wider), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(together, unit(weights, inputs, mask > 0))  # a bool mask is a mask


@pytest.mark.parametrize('axis_type', [AxisType.Auto, AxisType.Explicit])
def test_a_batch_cut_over_a_mesh_stays_cut(axis_type):
    mesh = make_mesh((2, 2), axis_type=axis_type)
    case = make_case(PAPER)
    loss = lambda weights, inputs, mask: (co_action(weights, inputs, mask, **PAPER) ** 2).sum()
    with jax.set_mesh(mesh):
        by_example = jax.NamedSharding(mesh, jax.P(('data', 'model')))
        compiled = jax.jit(jax.grad(loss)).lower(*jax.device_put(case, by_example)).compile()
        got = compiled(*jax.device_put(case, by_example))
    np.testing.assert_allclose(got, jax.grad(loss)(*map(jnp.asarray, case)), rtol=1e-4, atol=1e-5)
    assert {shard.data.shape for shard in got.addressable_shards} == {(1, *case[0].shape[1:])}
    assert 'all-' not in compiled.as_text()


@pytest.mark.parametrize('axis_type', [AxisType.Auto, AxisType.Explicit])
def test_chunks_of_a_batch_cut_over_a_mesh_are_those_of_one_device(axis_type):
    mesh = make_mesh((2, 2), axis_type=axis_type)
    case = make_case(BASE, length=2 * CHUNK + 7)
    unit = lambda weights, inputs, mask: co_action(weights, inputs, mask, **BASE)
    with jax.set_mesh(mesh):
        by_example = jax.NamedSharding(mesh, jax.P(('data', 'model')))
        compiled = jax.jit(unit).lower(*jax.device_put(case, by_example)).compile()
        got = compiled(*jax.device_put(case, by_example))
    np.testing.assert_allclose(got, jax.jit(unit)(*map(jnp.asarray, case)), rtol=1e-5, atol=1e-6)
    assert {shard.data.shape[0] for shard in got.addressable_shards} == {1}
    assert 'all-' not in compiled.as_text()


def test_one_linear_layer_to_one_number_is_a_factorisation_machine():
    rng = np.random.default_rng(3)
    candidate, history = rng.normal(size=(4, 2, 6)), rng.normal(size=(4, 5, 6))
    got = co_action(jnp.asarray(candidate, jnp.float32), jnp.asarray(history, jnp.float32),
                    length_mask(LENGTHS, 5), **{**BASE, 'dims': (6, 1), 'orders': 1})  # fmt: skip
    dots = np.einsum('bcd,bld->bcl', candidate, history) * np.asarray(length_mask(LENGTHS, 5))[:, None]
    np.testing.assert_allclose(got[..., 0], dots.sum(-1), rtol=1e-4, atol=1e-5)


def test_widths_are_the_papers():
    assert weight_width((16, 8, 4)) == 160
    assert weight_width((16, 8, 4), use_bias=True) == 172
    assert weight_width((4,) * 9, use_bias=True) == 160  # the first version: eight layers of 4 x 4 with bias
    assert output_width((16, 8, 4), 3, 'concat', 'concat') == 36
    assert output_width((16, 8, 4), 3, 'concat', 'sum') == 12
    assert output_width((16, 8, 4), 3, 'last', 'concat') == 12
    layers = split_weights(jnp.arange(172.0), (16, 8, 4), use_bias=True)
    assert [(m.shape, b.shape) for m, b in layers] == [((16, 8), (8,)), ((8, 4), (4,))]
    assert layers[0][0][1, 0] == 8 and layers[0][1][0] == 128 and layers[1][0][0, 0] == 136


@pytest.mark.parametrize('option', ['layer_output', 'order_reduce', 'activation', 'last_activation', 'pooling'])
def test_an_unknown_option_is_refused(option):
    with pytest.raises(ValueError, match=rf"co_action: {option} = 'most' does not exist; choose one of \['"):
        co_action(*make_case(BASE), **{**BASE, option: 'most'})


@pytest.mark.parametrize('option', [{'dims': (4,)}, {'dims': (4, 0)}, {'dims': (4, 2.0)}, {'orders': 0}])
def test_a_unit_without_layers_or_orders_is_refused(option):
    with pytest.raises(ValueError, match=rf'co_action: {next(iter(option))} = .* give '):
        co_action(*make_case(BASE), **{**BASE, **option})


@pytest.mark.parametrize(('width', 'inputs'), [(17, 4), (18, 5)])
def test_rows_of_another_width_are_refused(width, inputs):
    assert weight_width(BASE['dims']) == 18
    with pytest.raises(AssertionError, match='axis'):
        co_action(jnp.ones((1, 1, width)), jnp.ones((1, 2, inputs)), jnp.ones((1, 2)), **BASE)
    with pytest.raises(AssertionError, match='axis'):  # one network where each order has one
        co_action(jnp.ones((1, 1, 18)), jnp.ones((1, 2, 4)), jnp.ones((1, 2)), **BASE, order_independence=True)
