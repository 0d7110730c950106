"""Multi-head target attention against loops: behaviours of each candidate or of all, value and gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.ops.histories import target_attention as ops
from jaxrec.ops.histories.pooling import length_mask
from tests.oracles import sim as oracle
from tests.oracles.interactions import gradients


def make_case(own, seed=0):
    """(candidate, W_a, W_b, beta, two parts, their lengths): B = 3, C = 2, H = 2, K = 4, D = 2 + 1."""
    rng = np.random.default_rng(seed)
    draw = lambda *shape: rng.normal(size=shape).astype(np.float32)
    groups = 2 if own else 1
    lengths = np.array([[4, 2], [0, 0], [1, 3]], np.int32)[:, :groups]
    return (
        draw(3, 2, 4),
        draw(2, 4, 3),
        draw(2, 3, 3),
        draw(2, 1),
        draw(3, groups, 4, 2),
        draw(3, groups, 4, 1),
    ), lengths


@pytest.mark.parametrize('own', [True, False])
def test_attention_is_the_loop_value_and_gradient(own):
    arguments, lengths = make_case(own)
    mask, squeeze = length_mask(jnp.asarray(lengths), 4), np.array([0.7], np.float32)

    def attend(candidate, w_a, w_b, beta, *parts):
        logits = ops.target_logits(ops.project_query(candidate, w_a, w_b), parts)
        return ops.target_attention(logits + ops.cross_bias(parts[1:], [squeeze], beta), mask, parts)

    def slow(candidate, w_a, w_b, beta, *parts):
        behaviours = np.concatenate(parts, -1)
        out = np.zeros((3, 2, 2 * 3))
        for b, c in np.ndindex(3, 2):
            at = c if own else 0
            kept = behaviours[b, at, : lengths[b, at]]
            logits = oracle.projected_logits(candidate[b, c], kept, w_a, w_b).reshape(2, len(kept))
            out[b, c] = oracle.attend(logits + beta * 0.7 * kept[:, 2], kept)
        return out

    got, pull = jax.jit(lambda *x: jax.vjp(attend, *x))(*map(jnp.asarray, arguments))
    np.testing.assert_allclose(got, slow(*arguments), rtol=1e-4, atol=1e-5)
    assert not np.asarray(got)[1].any()  # nothing was kept
    upstream = np.random.default_rng(1).normal(size=got.shape).astype(np.float32)
    of = pull(jnp.asarray(upstream))
    for ours, theirs in zip(of, gradients(slow, arguments, upstream), strict=True):
        assert np.abs(theirs).max() > 0.01
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)
    assert not np.asarray(of[4])[np.asarray(mask) == 0].any()


def test_behaviours_that_all_share_are_those_of_each():
    arguments, lengths = make_case(own=False)
    candidate, w_a, w_b, _, *parts = map(jnp.asarray, arguments)
    mask, query = length_mask(jnp.asarray(lengths), 4), ops.project_query(candidate, w_a, w_b)
    tiled = [jnp.repeat(part, 2, 1) for part in parts]
    shared = ops.target_attention(ops.target_logits(query, parts), mask, parts)
    each = ops.target_attention(ops.target_logits(query, tiled), jnp.repeat(mask, 2, 1), tiled)
    np.testing.assert_allclose(shared, each, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('dtype', [jnp.bfloat16, jnp.float16])
def test_reduced_precision_bears_empty_histories(dtype):
    arguments, lengths = make_case(own=True)
    candidate, w_a, w_b, _, *parts = (jnp.asarray(x, dtype) for x in arguments)
    mask = length_mask(jnp.asarray(lengths), 4)

    def attend(candidate, w_a, w_b, *parts):
        logits = ops.target_logits(ops.project_query(candidate, w_a, w_b), parts)
        return ops.target_attention(logits, mask, parts)

    loss = lambda *x: ((y := attend(*x)).astype(jnp.float32).sum(), y)
    both = jax.jit(jax.grad(loss, (0, 1, 2, 3, 4), has_aux=True))
    of, got = both(candidate, w_a, w_b, *parts)
    for x in (got, *of):
        assert x.dtype == dtype and np.isfinite(np.asarray(x, np.float32)).all()
    assert not np.asarray(got, np.float32)[1].any()  # nothing was kept
    exact = attend(*(x.astype(jnp.float32) for x in (candidate, w_a, w_b, *parts)))
    np.testing.assert_allclose(np.asarray(got, np.float32), exact, rtol=0.1, atol=0.1)


def test_behaviours_of_other_candidates_are_refused():
    arguments, _ = make_case(own=True)
    candidate, w_a, w_b, _, *parts = arguments
    three = [np.repeat(part[:, :1], 3, 1) for part in parts]
    with pytest.raises(AssertionError, match='shape'):
        ops.target_logits(ops.project_query(candidate, w_a, w_b), three)


@pytest.mark.parametrize('own', [True, False])
def test_log_attention_is_the_loop(own):
    rng = np.random.default_rng(2)
    logits, lengths = (5 * rng.normal(size=(3, 2, 2, 4))).astype(np.float32), make_case(own)[1]
    mask = np.arange(4) < lengths[..., None]
    got = np.asarray(ops.log_attention(jnp.asarray(logits), jnp.asarray(mask, jnp.float32)))
    for b, c in np.ndindex(3, 2):
        n = lengths[b, c if own else 0]
        assert (got[b, c, n:] == -np.inf).all()
        if n:
            wanted = np.mean([oracle.normalised(row[:n].astype(np.float64)) for row in logits[b, c]], 0)
            np.testing.assert_allclose(np.exp(got[b, c, :n]), wanted, rtol=1e-5)


def test_log_attention_keeps_the_order_of_what_rounds_to_nothing():
    logits = jnp.asarray([[[[0.0, -300.0, -200.0]]]])
    got = np.asarray(ops.log_attention(logits, jnp.ones((1, 1, 3))))[0, 0]
    np.testing.assert_allclose(got, [0, -300, -200], atol=1e-5)
