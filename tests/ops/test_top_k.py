"""Binned top-K against a stable sort: ties, infinities, ragged last bins."""

import chex
import jax
import numpy as np
import pytest

from jaxrec.ops.top_k import binned_top_k


def oracle(x, keep):
    """The K largest of each row by a stable sort."""
    order = np.stack(
        [sorted(range(len(row)), key=lambda n: -row[n])[:keep] for row in x.reshape(-1, x.shape[-1])]
    )
    order = order.reshape(*x.shape[:-1], keep)
    return np.take_along_axis(x, order, -1), order


def drawn(kind, shape):
    draw = np.random.default_rng(0)
    if kind == 'few values':  # nearly all are equal to others
        return draw.integers(0, 4, shape).astype(np.float32)
    if kind == 'integers':
        return draw.integers(-50, 50, shape).astype(np.int32)
    x = draw.normal(size=shape).astype(np.float32)
    if kind == 'mostly -inf':
        x[draw.random(shape) < 0.98] = -np.inf
    return np.sort(x, -1)[..., :: 1 if kind == 'ascending' else -1] if 'scending' in kind else x


KINDS = ('normal', 'few values', 'integers', 'mostly -inf', 'ascending', 'descending')


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize(
    ('size', 'keep', 'width'), [(500, 7, 8), (501, 7, 8), (499, 1, 16), (30, 30, 4), (90, 3, 1)]
)
def test_it_is_a_stable_sort(kind, size, keep, width):
    x = drawn(kind, (2, 3, size))
    values, index = jax.jit(lambda x: binned_top_k(x, keep, width))(x)
    wanted, order = oracle(x, keep)
    np.testing.assert_array_equal(values, wanted)
    np.testing.assert_array_equal(index, order)
    assert index.dtype == np.int32 and values.dtype == x.dtype


def test_one_program_a_shape():
    traced = jax.jit(chex.assert_max_traces(lambda x: binned_top_k(x, 3, 4), 1))
    for seed in range(3):
        x = np.random.default_rng(seed).normal(size=(2, 100)).astype(np.float32)
        np.testing.assert_array_equal(traced(x)[1], oracle(x, 3)[1])


@pytest.mark.parametrize('keep', [0, 11])
def test_more_than_there_are_is_refused(keep):
    with pytest.raises(ValueError, match=f'the {keep} largest of 10 elements were asked for: keep 1 to 10'):
        binned_top_k(np.zeros((2, 10), np.float32), keep)
