"""The states of `jaxrec.evaluation.binned` against the exact metrics: jitted, over shards, in any order."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec import evaluation
from jaxrec.evaluation import BinnedAuc, LogLoss, Mean, Pcoc

CTR_STATES = [BinnedAuc, LogLoss, Pcoc]


def batch(seed, shape=(512, 4), rate=0.25):
    """Labels drawn from the logits' own probabilities; a fifth of the entries is padding."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(np.log(rate / (1 - rate)), 1.5, shape).astype(np.float32)
    labels = (rng.uniform(size=shape) < 1 / (1 + np.exp(-logits))).astype(np.float32)
    return labels, logits, (rng.uniform(size=shape) < 0.8).astype(np.float32)


def flat(labels, logits, valid):
    return labels.ravel(), 1 / (1 + np.exp(-logits.ravel().astype(np.float64))), valid.ravel()


def leaves_equal(a, b):
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


@pytest.mark.parametrize('rate', [0.25, 0.001])
def test_binned_auc_is_near_the_exact_one_even_for_rare_clicks(rate):
    data = batch(0, (200_000, 1), rate)
    state = jax.jit(BinnedAuc.from_batch)(*data)
    assert state.compute() == pytest.approx(evaluation.auc(*flat(*data)), abs=2e-5)


def test_binned_auc_counts_every_valid_example_once():
    labels, logits, valid = batch(1)
    state = BinnedAuc.from_batch(labels, logits * 100, valid)  # most logits beyond the outermost buckets
    assert int(state.positive.sum()) == int((labels * valid).sum())
    assert int(state.negative.sum()) == int(((1 - labels) * valid).sum())


def test_log_loss_and_pcoc_equal_the_exact_ones():
    data = batch(2)
    assert LogLoss.from_batch(*data).compute() == pytest.approx(evaluation.log_loss(*flat(*data)), rel=1e-6)
    assert Pcoc.from_batch(*data).compute() == pytest.approx(evaluation.pcoc(*flat(*data)), rel=1e-6)


def test_log_loss_is_finite_where_a_probability_would_not_be():
    one = jnp.ones((1, 1))
    assert LogLoss.from_batch(one, -200 * one, one).compute() == pytest.approx(200)


def test_mean_weights_by_valid_and_cuts_padding():
    values, valid = jnp.array([[1.0, 2.0], [6.0, jnp.nan]]), jnp.array([[1.0, 1.0], [1.0, 0.0]])
    assert Mean.from_batch(values, valid).compute() == 3.0


@pytest.mark.parametrize('metric', CTR_STATES)
def test_merged_batches_equal_one_batch(metric):
    parts = [batch(seed) for seed in range(3)]
    whole = metric.from_batch(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
    merged = functools.reduce(lambda a, b: a.merge(b), [metric.from_batch(*part) for part in parts], metric.empty())
    assert merged.compute() == pytest.approx(whole.compute(), rel=1e-6)


def test_merging_binned_auc_is_exactly_associative_and_commutative():
    a, b, c = (BinnedAuc.from_batch(*batch(seed)) for seed in range(3))
    assert leaves_equal(a.merge(b).merge(c), a.merge(b.merge(c)))
    assert leaves_equal(a.merge(b), b.merge(a))
    assert leaves_equal(a.merge(BinnedAuc.empty()), a)


@pytest.mark.parametrize('metric', CTR_STATES)
def test_state_of_a_batch_sharded_over_eight_devices_is_that_of_one(metric, eight_devices):
    mesh = jax.make_mesh((8,), ('data',), axis_types=(jax.sharding.AxisType.Auto,), devices=eight_devices)
    data = batch(3)
    sharded = [jax.device_put(column, jax.NamedSharding(mesh, jax.P('data'))) for column in data]
    got = jax.jit(metric.from_batch)(*sharded).compute()
    assert got == pytest.approx(jax.jit(metric.from_batch)(*data).compute(), rel=1e-6)


@pytest.mark.parametrize('metric', CTR_STATES)
def test_padding_changes_nothing(metric):
    labels, logits, valid = batch(4)
    noise = np.where(valid > 0, logits, np.nan).astype(np.float32)
    assert metric.from_batch(labels, noise, valid).compute() == metric.from_batch(labels, logits, valid).compute()


@pytest.mark.parametrize('metric', [*CTR_STATES, Mean])
def test_an_empty_state_computes_to_nan(metric):
    assert np.isnan(metric.empty().compute())


def test_one_class_alone_computes_to_nan():
    labels, logits, valid = batch(5)
    assert np.isnan(BinnedAuc.from_batch(np.zeros_like(labels), logits, valid).compute())


def test_binned_auc_refuses_nan_logits_and_graded_labels():
    labels, logits, valid = batch(6)
    valid[0] = 1
    logits[0, 0], labels[0, 1] = np.nan, 0.5
    with pytest.raises(ValueError, match='2 examples had a NaN logit or a label'):
        BinnedAuc.from_batch(labels, logits, valid).compute()


def test_binned_auc_refuses_an_overflowed_bucket_and_a_single_bucket():
    full = BinnedAuc.empty(2).replace(positive=jnp.full(2, 2**31 - 1, jnp.int32))
    with pytest.raises(ValueError, match='counted past'):
        full.merge(full).compute()
    with pytest.raises(ValueError, match='buckets=1; at least 2'):
        BinnedAuc.empty(1)


def test_states_of_different_resolution_do_not_merge():
    with pytest.raises(AssertionError):
        BinnedAuc.empty(8).merge(BinnedAuc.empty(16))
