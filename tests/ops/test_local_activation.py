"""DIN's scoring net against loops over pairs: value and gradient, whole and a few examples at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.ops import chunks
from jaxrec.ops import local_activation as ops
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
    rest = lambda x: x @ last
    return ops.local_activation(candidate, history, dict(zip(NAMES, kernels, strict=True)), bias, rest)


def slow(candidate, history, *parameters):
    *kernels, bias, last = parameters
    out = np.zeros((len(candidate), 2, 5))
    for b, c, i in np.ndindex(out.shape):
        one, other = candidate[b, c], history[b, i]
        pair = np.concatenate([one, other, one * other])
        out[b, c, i] = (sigmoid(pair @ np.concatenate(kernels) + bias) @ last)[0]
    return out


# All at once; two examples at a time; each alone.
@pytest.mark.parametrize('limit', [1 << 20, 2 * 2 * 5 * 4 * 4, 1])
def test_it_is_the_loop_value_and_gradient(limit, monkeypatch):
    monkeypatch.setattr(chunks, 'CHUNK_BYTES', limit)
    arguments = make_case()
    got, pull = jax.vjp(jax.jit(fast), *arguments)
    np.testing.assert_allclose(got, slow(*arguments), rtol=1e-5, atol=1e-6)
    upstream = np.random.default_rng(1).normal(size=got.shape).astype(np.float32)
    for ours, theirs in zip(pull(jnp.asarray(upstream)), gradients(slow, arguments, upstream), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-4)


def test_a_cpu_holds_the_pairs_of_a_chunk_in_training_too(monkeypatch):
    arguments = make_case(batch=64)
    loss = lambda *x: jnp.square(fast(*x)).sum()
    pairs = 64 * 2 * 5 * 4 * 4
    needed = {}
    for limit in (pairs, pairs // 32):
        monkeypatch.setattr(chunks, 'CHUNK_BYTES', limit)
        compiled = jax.jit(jax.grad(loss, argnums=(0, 1, 2))).lower(*arguments).compile()
        needed[limit] = 'f32[64,5,2,4]' in compiled.as_text(), 'f32[2,5,2,4]' in compiled.as_text()
    assert list(needed.values()) == [(True, False), (False, True)]


def test_cut_over_devices_and_by_chunks_the_gradient_is_the_same(eight_devices, monkeypatch):
    arguments = make_case(batch=16)
    gradient = lambda *x: jax.grad(lambda *x: jnp.square(fast(*x)).sum(), argnums=(0, 1, 2, 6))(*x)
    whole = jax.jit(gradient)(*arguments)
    monkeypatch.setattr(chunks, 'CHUNK_BYTES', 8 * 2 * 5 * 4 * 4)
    by_example = jax.NamedSharding(make_mesh((4, 2)), jax.P(('data', 'model')))
    placed = [*jax.device_put(arguments[:2], by_example), *arguments[2:]]
    for ours, theirs in zip(jax.jit(gradient)(*placed), whole, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
