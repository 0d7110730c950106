"""Hashing against loops: bits, distances, collisions and what they estimate."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.ops import simhash as ops
from jaxrec.ops.search import pack_bits
from tests.oracles import sim as oracle
from tests.oracles.interactions import gradients

LENGTHS = np.array([6, 0, 3], np.int32)


def make_case(seed=0):
    """(candidates [B, C, D], parts [B, L, Di] that hold D numbers together)."""
    rng = np.random.default_rng(seed)
    draw = lambda *shape: rng.normal(size=shape).astype(np.float32)
    return draw(3, 2, 5), [draw(3, 6, 2), draw(3, 6, 3)]


@pytest.mark.parametrize('hashes', [1, 31, 32, 33, 70])
def test_hamming_scores_count_the_bits_that_differ(hashes):
    candidate, parts = make_case()
    planes = ops.hyperplanes(5, hashes, seed=3)
    pack = lambda parts: pack_bits(ops.sign_bits(parts, planes))
    got = ops.hamming_scores(pack([jnp.asarray(candidate)]), pack([jnp.asarray(part) for part in parts]))
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, oracle.hamming(candidate, np.concatenate(parts, -1), planes))


def test_packing_is_bit_by_bit():
    bits = np.random.default_rng(0).integers(0, 2, (2, 3, 70)) > 0
    words = np.asarray(pack_bits(jnp.asarray(bits)))
    assert words.shape == (2, 3, 3) and words.dtype == np.uint32
    for at in np.ndindex(bits.shape):
        assert bool(words[at[:2]][at[2] // 32] >> (at[2] % 32) & 1) == bits[at]


def test_hyperplanes_follow_the_seed_alone():
    one, same, other = (np.asarray(ops.hyperplanes(400, 30, seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert abs(one.mean()) < 0.03 and abs(one.std() - 1) < 0.03
    assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.03


@pytest.mark.parametrize('group', [1, 2, 3])
def test_collision_pool_is_the_loop_value_and_gradient(group):
    candidate, parts = make_case()
    values = [*parts, np.random.default_rng(5).normal(size=(3, 6, 1)).astype(np.float32)]
    planes = ops.hyperplanes(5, 6, seed=3)
    sign = lambda parts: ops.signatures(ops.sign_bits(parts, planes), group)
    ours, theirs = sign([jnp.asarray(candidate)]), sign([jnp.asarray(part) for part in parts])
    got, pull = jax.vjp(lambda *v: ops.collision_pool(ours, theirs, LENGTHS, v), *map(jnp.asarray, values))
    behaviours = np.concatenate(parts, -1)
    slow = lambda *v: oracle.sdim(candidate, behaviours, LENGTHS, np.concatenate(v, -1), planes, group)
    np.testing.assert_allclose(got, slow(*values), rtol=1e-4, atol=1e-5)
    assert not np.asarray(got)[1].any() and np.asarray(got)[0].any()
    upstream = np.random.default_rng(1).normal(size=got.shape).astype(np.float32)
    of = pull(jnp.asarray(upstream))
    for x, want in zip(of, gradients(slow, values, upstream), strict=True):
        np.testing.assert_allclose(x, want, rtol=1e-3, atol=1e-3)
        assert not np.asarray(x)[2, 3:].any()  # behind the length


def test_collisions_are_counted_group_by_group():
    rng = np.random.default_rng(0)
    candidate, history = rng.integers(0, 3, (3, 2, 5)), rng.integers(0, 3, (3, 6, 5))
    got = ops.count_collisions(jnp.asarray(candidate), jnp.asarray(history))
    assert got.shape == (3, 2, 6) and got.dtype == np.float32
    for b, c, at in np.ndindex(got.shape):
        assert got[b, c, at] == sum(candidate[b, c, g] == history[b, at, g] for g in range(5))


def test_collisions_are_as_frequent_as_the_angle_says():
    rng = np.random.default_rng(0)
    candidate, behaviours = rng.normal(size=(1, 1, 8)), rng.normal(size=(1, 4, 8))
    behaviours[0, 0] = candidate[0, 0] + 0.3 * behaviours[0, 0]
    planes = ops.hyperplanes(8, 6000, seed=0)
    ours, theirs = (
        ops.signatures(ops.sign_bits([jnp.asarray(x)], planes), 3) for x in (candidate, behaviours)
    )
    cosine = (
        (behaviours[0] @ candidate[0, 0]) / np.linalg.norm(behaviours[0], axis=-1) / np.linalg.norm(candidate)
    )
    want = (1 - np.arccos(cosine) / np.pi) ** 3
    np.testing.assert_allclose(np.mean(np.asarray(ours)[0] == np.asarray(theirs)[0], -1), want, atol=0.04)


def test_bits_carry_no_gradient():
    candidate, parts = make_case()
    planes = ops.hyperplanes(5, 6, seed=3)
    theirs = ops.signatures(ops.sign_bits([jnp.asarray(part) for part in parts], planes), 2)

    def loss(candidate):
        ours = ops.signatures(ops.sign_bits([candidate], planes), 2)
        return (ops.collision_pool(ours, theirs, LENGTHS, parts) ** 2).sum()

    assert not np.asarray(jax.grad(loss)(jnp.asarray(candidate))).any()
