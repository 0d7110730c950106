"""FLOPs of one model written twice, layers in a loop and one by one: counts agree, before and after XLA."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.planning.hlo import parse_hlo
from jaxrec.planning.hlo_cost import program_cost
from jaxrec.planning.products import traced_flops

LAYERS, BATCH, WIDTH = 5, 8, 16
ONE = 2 * BATCH * WIDTH * WIDTH


def loss(weights, x, scan):
    layer = lambda x, w: (jnp.tanh(x @ w), None)
    if scan:
        x, _ = jax.lax.scan(layer, x, weights)
    else:
        for i in range(LAYERS):
            x, _ = layer(x, weights[i])
    return jnp.sum(x**2)


@functools.cache
def traced(scan):
    shapes = [jax.ShapeDtypeStruct(s, jnp.float32) for s in ((LAYERS, WIDTH, WIDTH), (BATCH, WIDTH))]
    return jax.jit(jax.grad(functools.partial(loss, scan=scan), argnums=(0, 1))).trace(*shapes)


@pytest.mark.parametrize('scan', [False, True])
def test_a_loop_over_layers_counts_as_the_layers_one_by_one(scan):
    assert traced_flops(traced(scan).jaxpr) == (3 * LAYERS * ONE, [])
    compiled = traced(scan).lower().compile()
    found = program_cost(parse_hlo(compiled.as_text()), 1)
    assert (found.flops, found.notes) == (3 * LAYERS * ONE, [])
    assert scan == (compiled.cost_analysis()['flops'] < found.flops / 2)  # what XLA says of the loop


def count(f, *shapes, platform='cpu'):
    return traced_flops(jax.make_jaxpr(f)(*(jnp.zeros(s) for s in shapes)), platform)


def test_rules_recomputation_and_branches_are_looked_into():
    product = lambda x: x @ x
    ruled = jax.custom_vjp(product)
    ruled.defvjp(lambda x: (x @ x, x), lambda x, g: (g @ x,))
    square = (4, 4)
    assert count(ruled, square) == (2 * 64, [])
    assert count(jax.checkpoint(product), square) == (2 * 64, [])
    assert count(jax.grad(lambda x: ruled(x).sum()), square)[0] == 2 * 2 * 64
    chosen = lambda x: jax.lax.platform_dependent(x, cpu=product, default=lambda x: product(product(x)))
    assert count(chosen, square)[0] == 2 * 64
    assert count(chosen, square, platform='tpu')[0] == 2 * 2 * 64
    by_data = lambda x: jax.lax.cond(x[0, 0] > 0, product, lambda x: x, x)
    assert count(by_data, square)[0] == 0 and 'counted as its cheapest branch' in count(by_data, square)[1][0]
    loop = lambda x: jax.lax.while_loop(lambda x: x[0, 0] < 1, product, x)
    assert count(loop, square)[0] == 2 * 64 and 'counted once' in count(loop, square)[1][0]


def test_experts_and_convolutions_count():
    ragged = lambda x, w: jax.lax.ragged_dot(x, w, jnp.array([3, 5], jnp.int32))
    assert count(ragged, (8, 4), (2, 4, 6))[0] == 2 * 8 * 4 * 6  # every row by one expert
    gradient = jax.grad(lambda x, w: ragged(x, w).sum(), argnums=(0, 1))
    assert count(gradient, (8, 4), (2, 4, 6))[0] == 3 * 2 * 8 * 4 * 6


@pytest.mark.parametrize(
    ('options', 'data', 'kernel'),
    [
        ({'window_strides': (1, 1), 'padding': 'SAME'}, (2, 3, 8, 7), (5, 3, 3, 2)),
        ({'window_strides': (3, 2), 'padding': [(2, 0), (-1, 3)]}, (2, 3, 8, 7), (5, 3, 3, 4)),
        ({'window_strides': (1, 2), 'padding': [(0, 2), (1, 0)], 'lhs_dilation': (2, 3)}, (2, 3, 5, 4), (5, 3, 3, 2)),
        ({'window_strides': (1, 1), 'padding': 'SAME', 'rhs_dilation': (2, 1)}, (1, 4, 6, 6), (6, 2, 3, 3)),
    ],
    ids=['same', 'strides', 'holes', 'groups'],
)
def test_a_convolution_counts_the_numbers_that_meet(options, data, kernel):
    groups = data[1] // kernel[1]
    convolve = functools.partial(jax.lax.conv_general_dilated, feature_group_count=groups, **options)
    shapes = [jax.ShapeDtypeStruct(s, jnp.float32) for s in (data, kernel)]
    meets = np.asarray(jax.jit(convolve)(np.ones(data, np.float32), np.ones(kernel, np.float32)))
    assert traced_flops(jax.make_jaxpr(convolve)(*shapes)) == (2 * meets.sum(), [])  # ones sum to their number


def test_a_gradient_of_strided_convolutions_counts_no_holes():
    convolve = lambda x, k: jax.lax.conv(x, k, (2, 2), 'VALID').sum()
    data, kernel = (2, 3, 9, 9), (5, 3, 3, 3)
    one = 2 * 2 * 5 * 3 * 4**2 * 3**2
    assert count(jax.grad(convolve, argnums=(0, 1)), data, kernel)[0] in (2 * one, 3 * one)


@pytest.mark.parametrize(('platform', 'products'), [('cpu', 3), ('tpu', 7)])
def test_a_choice_by_platform_is_made_inside_loops_and_gradients(platform, products):
    product = lambda x: x @ x
    layer = lambda x, _: (jax.lax.platform_dependent(x, cpu=product, default=lambda x: product(product(x))), None)
    run = lambda x: jax.lax.scan(jax.checkpoint(layer), x, None, length=5)[0].sum()
    # Backwards two products for each, and one again of those whose result a second one takes.
    assert count(jax.grad(run), (4, 4), platform=platform) == (5 * products * 2 * 64, [])


def test_inside_shard_map_all_devices_count(eight_devices):
    mesh = jax.make_mesh((4, 2), ('data', 'model'), devices=eight_devices, axis_types=(jax.sharding.AxisType.Auto,) * 2)
    spec = jax.P(('data', 'model'))
    f = jax.shard_map(lambda x, w: x @ w, mesh=mesh, in_specs=(spec, jax.P()), out_specs=spec)
    assert count(f, (16, 4), (4, 6))[0] == 2 * 16 * 4 * 6
