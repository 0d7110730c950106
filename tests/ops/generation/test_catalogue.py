"""Scores of a whole catalogue against loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.ops.generation import catalogue as ops


def make_case(places=7, items=6, width=3, seed=0):
    rng = np.random.default_rng(seed)
    draw = lambda *shape: rng.normal(size=shape).astype(np.float32)
    return draw(places, width), draw(items, width), rng.integers(1, items, places), np.arange(items) >= 1


@pytest.mark.parametrize('chunk', [1 << 25, 1, 4 * 6 * 3])
def test_cross_entropy_is_the_loop_whatever_the_chunks(monkeypatch, chunk):
    monkeypatch.setattr(ops, 'CHUNK_BYTES', chunk)
    hidden, vectors, labels, allowed = make_case()

    def by_hand(hidden, vectors):
        logits = hidden @ vectors[1:].T
        return jax.nn.logsumexp(logits, -1) - jnp.sum(hidden * vectors[labels], -1)

    run = lambda h, v: ops.catalogue_cross_entropy(h, v, jnp.asarray(labels), jnp.asarray(allowed))
    weights = np.arange(1.0, 8.0)
    got, pull = jax.vjp(run, hidden, vectors)
    want, pull_want = jax.vjp(by_hand, hidden, vectors)
    np.testing.assert_allclose(got, want, rtol=1e-5)
    for x, y in zip(pull(weights.astype(np.float32)), pull_want(weights.astype(np.float32)), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('wanted', [[0, 1, 0, 0, 1, 0, 1], [0] * 7, [1] * 7])
@pytest.mark.parametrize('chunk', [1 << 25, 4 * 6 * 2])
def test_unwanted_positions_neither_count_nor_disturb(monkeypatch, chunk, wanted):
    monkeypatch.setattr(ops, 'CHUNK_BYTES', chunk)
    hidden, vectors, labels, allowed = make_case()
    wanted = np.asarray(wanted, bool)
    odd = np.where(wanted, labels, 0)  # padding, which takes no part

    def run(hidden, vectors):
        return ops.catalogue_cross_entropy(hidden, vectors, jnp.asarray(odd), jnp.asarray(allowed), jnp.asarray(wanted))

    def by_hand(hidden, vectors):
        logits = hidden @ vectors[1:].T
        return (jax.nn.logsumexp(logits, -1) - jnp.sum(hidden * vectors[labels], -1)) * wanted

    weights = np.arange(1, 8).astype(np.float32)
    got, pull = jax.vjp(jax.jit(run), hidden, vectors)
    want, pull_want = jax.vjp(by_hand, hidden, vectors)
    np.testing.assert_allclose(got, want, rtol=1e-5)
    for x, y in zip(pull(weights), pull_want(weights), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5)


def test_sampled_cross_entropy_is_the_loop():
    hidden, vectors, labels, _ = make_case()
    negatives = np.array([1, 1, 4, 2])
    got = ops.sampled_cross_entropy(*map(jnp.asarray, (hidden, vectors, labels, negatives)))
    for n, label in enumerate(labels):
        others = [hidden[n] @ vectors[i] for i in negatives if i != label]
        logits = np.array([hidden[n] @ vectors[label], *others], np.float64)
        np.testing.assert_allclose(got[n], np.log(np.exp(logits).sum()) - logits[0], rtol=1e-5)


def test_ranks_share_places_and_leave_out_what_takes_no_part():
    scores = jnp.array([[-jnp.inf, 3.0, 1.0, 3.0, 0.0], [-jnp.inf, 0.0, 0.0, 0.0, 0.0]])
    np.testing.assert_array_equal(ops.rank_of(scores, jnp.array([1, 2])), [1.5, 2.5])
    np.testing.assert_array_equal(ops.rank_of(scores, jnp.array([2, 4])), [3.0, 2.5])
    hidden, vectors, _, allowed = make_case()
    scores = ops.catalogue_scores(*map(jnp.asarray, (hidden, vectors, allowed)))
    assert np.isneginf(np.asarray(scores)[:, 0]).all() and np.isfinite(np.asarray(scores)[:, 1:]).all()
