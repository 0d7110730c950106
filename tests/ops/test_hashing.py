"""Counter-based random numbers: uniform bits, no pattern along rows or columns, no dependence on sharding."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.ops import hashing
from jaxrec.parallel import make_mesh

V, D = 8192, 32
KEYS = [0, 1, 12345]


@functools.cache
def draw(seed):
    rows = jnp.arange(V, dtype=jnp.int32)
    return np.asarray(jax.jit(hashing.counter_bits, static_argnums=2)(jax.random.key(seed), rows, D))


def bits_of(x):
    """uint32 [...] -> 0/1 [..., 32]."""
    return (x[..., None] >> np.arange(32, dtype=np.uint32)) & 1


@pytest.mark.parametrize('seed', KEYS)
def test_every_bit_is_a_fair_coin(seed):
    share = bits_of(draw(seed)).mean((0, 1))
    assert np.abs(share - 0.5).max() < 5 * 0.5 / np.sqrt(V * D)
    counts = np.bincount((draw(seed) >> 24).ravel(), minlength=256)  # chi-square of 255 degrees: 255 +- 22.6
    assert 255 - 5 * 22.6 < ((counts - V * D / 256) ** 2 / (V * D / 256)).sum() < 255 + 5 * 22.6


@pytest.mark.parametrize('seed', KEYS)
def test_neighbours_have_nothing_in_common(seed):
    x = draw(seed)
    for a, b in [
        (x[:-1], x[1:]),
        (x[:, :-1], x[:, 1:]),
        (x[:-1, :-1], x[1:, 1:]),
        (x[::2], x[1::2]),
        (x[: V // 2], x[V // 2 :]),
    ]:
        flips = bits_of(a ^ b)
        sigma = 0.5 / np.sqrt(a.size)
        assert np.abs(flips.mean((0, 1)) - 0.5).max() < 5 * sigma
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 5 / np.sqrt(a.size)
    # Were a number a row's part xor a column's part, a square of four would give it away.
    square = x[:-1, :-1] ^ x[1:, :-1] ^ x[:-1, 1:] ^ x[1:, 1:]
    assert np.abs(bits_of(square).mean((0, 1)) - 0.5).max() < 5 * 0.5 / np.sqrt(square.size)
    # No row and no column is the copy of another.
    assert len(np.unique(x, axis=0)) == V and len(np.unique(x, axis=1).T) == D
    # Of n 32-bit draws about n^2 / 2^33 pairs coincide: 8 here.
    assert x.size - np.unique(x).size < 8 + 5 * np.sqrt(8)


def test_streams_of_neighbouring_keys_have_nothing_in_common():
    flips = bits_of(draw(0) ^ draw(1)).mean((0, 1))
    assert np.abs(flips - 0.5).max() < 5 * 0.5 / np.sqrt(V * D)


def test_one_input_bit_flips_half_of_the_output_bits_and_no_two_inputs_meet():
    x = jnp.arange(4096, dtype=jnp.uint32) * jnp.uint32(2654435761)
    base = np.asarray(hashing.mix32(x))
    flips = [bits_of(base ^ np.asarray(hashing.mix32(x ^ jnp.uint32(1 << b)))).mean() for b in range(32)]
    assert min(flips) > 0.48 and max(flips) < 0.52
    assert np.unique(base).size == 4096


def test_a_row_is_the_same_wherever_it_is_drawn():
    key, some = jax.random.key(1), jnp.array([5, 8000, 17], jnp.int32)
    np.testing.assert_array_equal(hashing.counter_bits(key, some, D), draw(1)[np.asarray(some)])
    np.testing.assert_array_equal(hashing.counter_bits(key, some, 7), draw(1)[np.asarray(some), :7])
    mesh = make_mesh((4, 2))
    by_row = jax.NamedSharding(mesh, jax.P(('data', 'model')))
    cut = jax.jit(lambda k: hashing.counter_bits(k, jnp.arange(V, dtype=jnp.int32), D), out_shardings=by_row)(key)
    assert cut.addressable_shards[0].data.shape == (V // 8, D)
    np.testing.assert_array_equal(cut, draw(1))


def test_uniform_and_normal_have_their_moments():
    rows = jnp.arange(V, dtype=jnp.int32)
    flat = np.asarray(hashing.counter_uniform(jax.random.key(2), rows, D), np.float64)
    assert 0 < flat.min() < 1e-4 and 1 - 1e-4 < flat.max() < 1
    sigma = 1 / np.sqrt(flat.size)
    assert abs(flat.mean() - 0.5) < 5 * sigma / np.sqrt(12) and abs(flat.var() - 1 / 12) < 5 * sigma * 0.08
    bell = np.asarray(hashing.counter_normal(jax.random.key(2), rows, D), np.float64)
    for power, moment, spread in [(1, 0, 1), (2, 1, 2**0.5), (3, 0, 15**0.5), (4, 3, 96**0.5)]:
        assert abs((bell**power).mean() - moment) < 5 * spread * sigma
    assert np.isfinite(bell).all() and np.abs(bell).max() < 6
    assert np.abs(np.corrcoef(bell.T) - np.eye(D)).max() < 5 / np.sqrt(V)
