"""Masks and pooling against numpy loops, with empty histories."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.ops.histories.pooling import attention_pool, count_same, length_mask, masked_mean, masked_sum

LENGTHS = np.array([4, 0, 2], np.int32)


def make_case(seed=0):
    rng = np.random.default_rng(seed)
    logits, values = rng.normal(size=(3, 2, 4)) * 5, rng.normal(size=(3, 4, 5))
    return logits.astype(np.float32), values.astype(np.float32), np.asarray(length_mask(LENGTHS, 4))


def attention_loop(logits, values, softmax):
    out = np.zeros((3, 2, 5))
    for b, length in enumerate(LENGTHS):
        for c in range(2 if length else 0):
            weights = logits[b, c, :length].astype(np.float64)
            if softmax:
                weights = np.exp(weights - weights.max()) / np.exp(weights - weights.max()).sum()
            out[b, c] = sum(weights[i] * values[b, i] for i in range(length))
    return out


def test_length_mask_marks_the_first_slots():
    np.testing.assert_array_equal(length_mask(LENGTHS, 4), [[1, 1, 1, 1], [0, 0, 0, 0], [1, 1, 0, 0]])
    assert length_mask(LENGTHS, 0).shape == (3, 0)


def test_values_of_the_history_are_counted():
    rng = np.random.default_rng(1)
    candidate, history = (rng.integers(1, 4, (3, n)).astype(np.int32) for n in (6, 4))
    got = count_same(candidate, history, length_mask(LENGTHS, 4), least=2)
    for b, c in np.ndindex(3, 6):
        assert got[b, c] == sum(h == candidate[b, c] >= 2 for h in history[b, : LENGTHS[b]])
    assert np.asarray(got).max() > 1 and got.dtype == np.float32


def test_sum_and_mean_see_real_slots_only():
    _, values, mask = make_case()
    sums = np.stack([values[b, :n].sum(0) for b, n in enumerate(LENGTHS)])
    np.testing.assert_allclose(masked_sum(values, mask), sums, rtol=1e-5)
    np.testing.assert_allclose(masked_mean(values, mask), sums / np.array([[4], [1], [2]]), rtol=1e-5)
    assert masked_sum(values[:, :0], mask[:, :0]).shape == (3, 5)


@pytest.mark.parametrize('softmax', [True, False])
def test_attention_pool_is_the_loop(softmax):
    logits, values, mask = make_case()
    got = attention_pool(logits, values, mask, softmax=softmax)
    np.testing.assert_allclose(got, attention_loop(logits, values, softmax), rtol=1e-5, atol=1e-6)
    assert not np.asarray(got)[1].any()


@pytest.mark.parametrize('softmax', [True, False])
def test_attention_pool_has_the_slope_of_its_value_and_none_at_padding(softmax):
    logits, values, mask = make_case()
    upstream = np.random.default_rng(1).normal(size=(3, 2, 5))
    loss = lambda x, v: (attention_pool(x, v, mask, softmax=softmax) * upstream).sum()
    of_logits, of_values = jax.grad(loss, (0, 1))(jnp.asarray(logits), jnp.asarray(values))
    assert np.isfinite(of_logits).all() and np.isfinite(of_values).all()
    assert not np.asarray(of_logits)[np.broadcast_to(mask[:, None], logits.shape) == 0].any()
    assert not np.asarray(of_values)[mask == 0].any()
    rng = np.random.default_rng(2)
    dl, dv = rng.normal(size=logits.shape), rng.normal(size=values.shape)
    step = lambda eps: (attention_loop(logits + eps * dl, values + eps * dv, softmax) * upstream).sum()
    slope = (step(1e-5) - step(-1e-5)) / 2e-5
    np.testing.assert_allclose((of_logits * dl).sum() + (of_values * dv).sum(), slope, rtol=1e-4)


def test_attention_pool_bears_extreme_logits():
    logits, values, mask = make_case()
    got, grad = jax.value_and_grad(lambda x: attention_pool(x, values, mask).sum())(jnp.asarray(logits) * 1e30)
    assert np.isfinite(got) and np.isfinite(grad).all()
