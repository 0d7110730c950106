"""DIN's scoring net against loops over pairs: value and gradient, on one device and eight."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from jaxrec.ops.histories import local_activation as ops
from jaxrec.parallel import make_mesh
from tests.oracles.ctr import sigmoid
from tests.oracles.interactions import gradients

NAMES = ('candidate', 'history', 'product')


def make_case(batch=4, seed=0):
    """Candidates, histories, three kernels, their bias and a last layer: C = 2, L = 5, D = 3, W = 4."""
    draw = np.random.default_rng(seed).normal
    sizes = (batch, 2, 3), (batch, 5, 3), (3, 4), (3, 4), (3, 4), (4,), (4, 1)
    return tuple(draw(size=size).astype(np.float32) for size in sizes)


def fast(candidate, history, *parameters):
    *kernels, bias, last = parameters
    pairs = ops.first_layer(candidate, history, dict(zip(NAMES, kernels, strict=True)), bias)
    return (pairs @ last)[..., 0].swapaxes(1, 2)


def slow(candidate, history, *parameters):
    *kernels, bias, last = parameters
    out = np.zeros((len(candidate), 2, 5))
    for b, c, i in np.ndindex(out.shape):
        one, other = candidate[b, c], history[b, i]
        pair = np.concatenate([one, other, one * other])
        out[b, c, i] = (sigmoid(pair @ np.concatenate(kernels) + bias) @ last)[0]
    return out


def test_it_is_the_loop_value_and_gradient():
    arguments = make_case()
    got, pull = jax.vjp(jax.jit(fast), *arguments)
    np.testing.assert_allclose(got, slow(*arguments), rtol=1e-5, atol=1e-6)
    upstream = np.random.default_rng(1).normal(size=got.shape).astype(np.float32)
    for ours, theirs in zip(pull(jnp.asarray(upstream)), gradients(slow, arguments, upstream), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize('axis_type', [AxisType.Auto, AxisType.Explicit])
def test_a_batch_cut_over_devices_stays_cut(axis_type, eight_devices):
    arguments = make_case(batch=16)

    def both(*x):
        loss = lambda *x: (jnp.square(y := fast(*x)).sum(), y)
        return jax.grad(loss, argnums=(0, 1, 2, 6), has_aux=True)(*x)

    whole = jax.jit(both)(*arguments)
    mesh = make_mesh((4, 2), axis_type=axis_type)
    at = lambda *spec: jax.NamedSharding(mesh, jax.P(*spec))
    placed = [*jax.device_put(arguments[:2], at(('data', 'model'))), *jax.device_put(arguments[2:], at())]
    with jax.set_mesh(mesh):
        compiled = jax.jit(both).lower(*placed).compile()
        got = compiled(*placed)
    assert 'all-gather' not in compiled.as_text()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), got, whole)
