"""The K largest of long rows against a stable sort: ties, all -inf, ragged last bins, bins of bins."""

import jax
import numpy as np
import pytest

from jaxrec.ops.largest import largest


def rows(kind, size):
    rng = np.random.default_rng(size)
    x = rng.normal(size=(3, size)).astype(np.float32)
    if kind == 'few values':
        x = np.round(x) + 0.0  # no -0, which `top_k` puts below 0
    if kind == 'mostly -inf':
        x[rng.random(x.shape) < 0.97] = -np.inf
        x[0] = -np.inf
    return x


@pytest.mark.parametrize('kind', ['normal', 'few values', 'mostly -inf'])
@pytest.mark.parametrize(('size', 'keep', 'width'), [(203, 1, 2), (203, 9, 4), (1001, 5, 3), (7, 7, 32)])
def test_it_is_a_stable_sort(kind, size, keep, width):
    x = rows(kind, size)
    values, index = jax.jit(lambda x: largest(x, keep, width=width))(x)
    want = np.argsort(-x, -1, kind='stable')[:, :keep]
    np.testing.assert_array_equal(index, want)
    np.testing.assert_array_equal(values, np.take_along_axis(x, want, -1))


@pytest.mark.parametrize(('keep', 'width'), [(0, 4), (6, 4), (1, 1)])
def test_numbers_out_of_range_are_refused(keep, width):
    with pytest.raises(ValueError, match=f'the {keep} largest of 5 by bins of {width}: keep 1 to 5'):
        largest(np.zeros((1, 5), np.float32), keep, width=width)
