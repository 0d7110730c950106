"""Hashing against loops: bits, distances, collisions and what they estimate."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.ops import chunks
from jaxrec.ops.histories import simhash as ops
from tests.conftest import slow_but_for, slow_cases_but_for
from tests.oracles import sim as oracle
from tests.oracles.interactions import gradients

LENGTHS = np.array([6, 0, 3], np.int32)


def make_case(seed=0):
    """(candidates [B, C, D], parts [B, L, Di] that hold D numbers together)."""
    rng = np.random.default_rng(seed)
    draw = lambda *shape: rng.normal(size=shape).astype(np.float32)
    return draw(3, 2, 5), [draw(3, 6, 2), draw(3, 6, 3)]


@pytest.mark.parametrize('hashes', slow_but_for((31, 33), (1, 31, 32, 33, 70)))
def test_hamming_scores_count_the_bits_that_differ(hashes):
    candidate, parts = make_case()
    planes = ops.hyperplanes(5, hashes, seed=3)
    got = ops.hamming_scores(jnp.asarray(candidate), [jnp.asarray(part) for part in parts], planes)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, oracle.hamming(candidate, np.concatenate(parts, -1), planes))


def test_hyperplanes_follow_the_seed_alone():
    one, same, other = (np.asarray(ops.hyperplanes(400, 30, seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert abs(one.mean()) < 0.03 and abs(one.std() - 1) < 0.03
    assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.03


@pytest.mark.parametrize(
    ('group', 'candidates'),
    slow_cases_but_for(
        ((1, 2), (2, 9), (3, 9)),
        # 9 are more than there are codes of a group.
        [(group, candidates) for group in (1, 2, 3) for candidates in (2, 9)],
    ),
)
def test_collision_pool_is_the_loop_value_and_gradient(group, candidates):
    candidate, parts = make_case()
    more = np.random.default_rng(8).normal(size=(3, candidates - 2, 5)).astype(np.float32)
    candidate = np.concatenate([candidate, more], 1)
    values = [*parts, np.random.default_rng(5).normal(size=(3, 6, 1)).astype(np.float32)]
    planes = ops.hyperplanes(5, 6, seed=3)
    hashed = jnp.asarray(candidate), [jnp.asarray(part) for part in parts], planes, group
    got, pull = jax.vjp(lambda *v: ops.collision_pool(*hashed, LENGTHS, v), *map(jnp.asarray, values))
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
    candidate, parts = make_case()
    planes = ops.hyperplanes(5, 12, seed=3)
    got = ops.count_collisions(jnp.asarray(candidate), [jnp.asarray(part) for part in parts], planes, 2)
    assert got.shape == (3, 2, 6) and got.dtype == np.float32
    ours, theirs = oracle.bits(candidate, planes), oracle.bits(np.concatenate(parts, -1), planes)
    for b, c, at in np.ndindex(got.shape):
        want = sum((ours[b, c, g : g + 2] == theirs[b, at, g : g + 2]).all() for g in range(0, 12, 2))
        assert got[b, c, at] == want


def test_a_batch_cut_in_chunks_is_hashed_as_a_whole(monkeypatch):
    candidate, parts = make_case()
    parts = [jnp.asarray(part) for part in parts]
    planes = ops.hyperplanes(5, 6, seed=3)

    def all_of(candidate, parts):
        scores = ops.hamming_scores(candidate, parts, planes)
        pooled = ops.collision_pool(candidate, parts, planes, 2, LENGTHS, parts)
        return (pooled**2).sum(), (scores, pooled)

    run = lambda: jax.value_and_grad(all_of, (0, 1), has_aux=True)(jnp.asarray(candidate), parts)
    whole = run()
    monkeypatch.setattr(chunks, 'CHUNK_BYTES', 1)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), run(), whole)


def test_collisions_are_as_frequent_as_the_angle_says():
    rng = np.random.default_rng(0)
    candidate, behaviours = rng.normal(size=(1, 1, 8)), rng.normal(size=(1, 4, 8))
    behaviours[0, 0] = candidate[0, 0] + 0.3 * behaviours[0, 0]
    planes = ops.hyperplanes(8, 6000, seed=0)
    counts = ops.count_collisions(jnp.asarray(candidate), [jnp.asarray(behaviours)], planes, 3)
    cosine = (behaviours[0] @ candidate[0, 0]) / np.linalg.norm(behaviours[0], axis=-1) / np.linalg.norm(candidate)
    want = (1 - np.arccos(cosine) / np.pi) ** 3
    np.testing.assert_allclose(counts[0, 0] / 2000, want, atol=0.04)


def test_bits_carry_no_gradient():
    candidate, parts = make_case()
    planes = ops.hyperplanes(5, 6, seed=3)

    def loss(candidate, hashed):
        return (ops.collision_pool(candidate, hashed, planes, 2, LENGTHS, parts) ** 2).sum()

    of = jax.grad(loss, (0, 1))(jnp.asarray(candidate), [jnp.asarray(part) for part in parts])
    assert not any(np.asarray(x).any() for x in jax.tree.leaves(of))
