"""Dropout masks by counter: the promised rate, independence, and the same bits as an oracle's."""

import itertools
import zlib

import jax
import numpy as np
import pytest

from jaxrec.ops.dropout import drop_units, drop_weights, fold_words, keep_mask, key_words
from tests.oracles import exploration as oracle

SIZE = 1 << 16


def mask(seed=0, layer=3, rate=0.3, size=SIZE, number=None):
    words = key_words(jax.random.key(seed))
    return np.asarray(keep_mask(words if number is None else fold_words(words, number), layer, (size,), rate))


def test_masks_and_folded_words_are_the_oracles_to_the_bit():
    words = [int(w) for w in key_words(jax.random.key(7))]
    np.testing.assert_array_equal(fold_words(key_words(jax.random.key(7)), 5), oracle.fold_words(words, 5))
    want = oracle.keep_mask(oracle.fold_words(words, 5), 11, 300, 0.4)
    np.testing.assert_allclose(mask(7, 11, 0.4, 300, 5), want, rtol=1e-6)


@pytest.mark.parametrize('rate', [0.0, 0.01, 0.3, 0.9])
def test_the_rate_is_kept_and_the_mean_is_one(rate):
    got = mask(rate=rate)
    assert set(np.unique(got)) <= {np.float32(0), np.float32(1 / (1 - rate))}
    assert abs((got == 0).mean() - rate) <= 5 * np.sqrt(rate * (1 - rate) / SIZE)


@pytest.mark.parametrize(
    'other',
    [{'seed': 1}, {'layer': 4}, {'number': 0}, {'number': 1}],
    ids=['key', 'layer', 'first draw', 'second draw'],
)
def test_masks_of_other_keys_layers_and_draws_are_independent(other):
    a, b = mask() == 0, mask(**other) == 0
    assert abs((a & b).mean() - 0.09) < 5 * np.sqrt(0.09 * 0.91 / SIZE)
    assert abs((a[1:] & b[:-1]).mean() - 0.09) < 5 * np.sqrt(0.09 * 0.91 / SIZE)


def test_neighbours_in_a_mask_are_independent():
    a = mask() == 0
    for lag in (1, 2, 64, 256):
        assert abs((a[lag:] & a[:-lag]).mean() - 0.09) < 5 * np.sqrt(0.09 * 0.91 / SIZE)


def test_consecutive_draws_of_one_number_are_independent():
    words = key_words(jax.random.key(0))
    draw = jax.jit(jax.vmap(lambda n: keep_mask(fold_words(words, n), 0, (8,), 0.3)))
    dropped = np.asarray(draw(np.arange(20_000))) == 0
    assert np.abs(dropped.mean(0) - 0.3).max() < 5 * np.sqrt(0.21 / 20_000)
    assert np.abs((dropped[1:] & dropped[:-1]).mean(0) - 0.09).max() < 5 * np.sqrt(0.09 * 0.91 / 20_000)


def test_every_weight_has_a_mask_of_its_own_by_its_name():
    params = {'a': {'kernel': np.ones((40, 30), np.float32)}, 'b': {'kernel': np.ones((40, 30), np.float32)}}
    words = key_words(jax.random.key(0))
    both, alone = drop_weights(params, words, 0.5), drop_weights({'b': params['b']}, words, 0.5)
    assert both['a']['kernel'].shape == (40, 30)
    assert abs(((both['a']['kernel'] == 0) == (both['b']['kernel'] == 0)).mean() - 0.5) < 0.1
    np.testing.assert_array_equal(both['b']['kernel'], alone['b']['kernel'])


def test_dropping_units_is_dropout_of_the_activations():
    rng, widths, words = np.random.default_rng(0), (5, 40, 30, 1), key_words(jax.random.key(2))
    layers = [(rng.normal(size=(a, b)), rng.normal(size=b)) for a, b in itertools.pairwise(widths)]
    slopes = [rng.uniform(0.1, 0.5, width) for width in widths[1:-1]]
    params = {f'dense_{i}': {'kernel': k, 'bias': b} for i, (k, b) in enumerate(layers)}
    params |= {f'slope_{i}': slope for i, slope in enumerate(slopes)}
    thin = drop_units({'head': params}, words, 0.4)['head']
    plain = [int(word) for word in words]
    layer = lambda i: zlib.crc32(f"['head']['dense_{i}']".encode())
    masks = [oracle.keep_mask(plain, layer(i), len(slope), 0.4) for i, slope in enumerate(slopes)]
    assert 0 < (masks[0] == 0).sum() < 40
    x, whole = rng.normal(size=(6, 5)), [np.ones(len(slope)) for slope in slopes]
    of_thin = [tuple(np.asarray(thin[f'dense_{i}'][name]) for name in ('kernel', 'bias')) for i in range(3)]
    got = oracle.predict_dropping(x, of_thin, slopes, whole)
    np.testing.assert_allclose(got, oracle.predict_dropping(x, layers, slopes, masks), rtol=1e-4)
    np.testing.assert_array_equal(thin['dense_2']['kernel'], layers[2][0])
    np.testing.assert_array_equal(thin['slope_0'], slopes[0])


def test_a_rate_that_drops_all_is_refused():
    with pytest.raises(ValueError, match=r'dropout rate 1.0 is outside \[0, 1\): give the share'):
        keep_mask(key_words(jax.random.key(0)), 0, (3,), 1.0)
