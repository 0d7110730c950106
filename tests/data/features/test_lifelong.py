"""Samples of lifelong histories: whole sets, each as likely, the same for an example wherever it stands."""

import itertools

import numpy as np
import pytest

from jaxrec.data.features.lifelong import Lifelong, read_lifelong, sample_slots
from tests.data.worlds import small_log


def draw(length, sample, examples=None, **changes):
    examples = np.arange(len(length)) if examples is None else examples
    return sample_slots(length, sample, examples, **{'seed': 3, 'epoch': 1} | changes)


@pytest.mark.parametrize('sample', [1, 4, 30])
def test_a_sample_is_a_set_in_order(sample):
    length = np.asarray([0, 1, 3, 4, 5, 29, 30, 31, 200])
    found = draw(length, sample)
    assert found.shape == (9, sample)
    for number, slots in zip(length, found, strict=True):
        if number <= sample:
            assert slots.tolist() == list(range(sample))
        else:
            assert (np.diff(slots) > 0).all() and 0 <= slots[0] and slots[-1] < number


def test_a_sample_depends_on_seed_epoch_and_example_alone():
    length, examples = np.full(50, 90), np.arange(50) * 7
    first = draw(length, 20, examples)
    turned = draw(length[::-1], 20, examples[::-1])[::-1]
    np.testing.assert_array_equal(turned, first)
    np.testing.assert_array_equal(draw(length[:5], 20, examples[:5]), first[:5])
    beside_longer = draw(np.append(length, 500), 20, np.append(examples, 1))
    np.testing.assert_array_equal(beside_longer[:50], first)
    for other in (draw(length, 20, examples, epoch=2), draw(length, 20, examples, seed=4)):
        assert (other != first).any(axis=1).all()
    assert len(np.unique(first, axis=0)) == 50


def test_every_set_is_as_likely():
    found = draw(np.full(40_000, 6), 3)
    counts = [(found == subset).all(axis=1).sum() for subset in itertools.combinations(range(6), 3)]
    assert sum(counts) == 40_000
    assert np.abs(np.asarray(counts) - 2000).max() < 5 * np.sqrt(2000 * 0.95)


def test_the_description_has_defaults(tmp_path):
    log = small_log(tmp_path / 'log')
    assert read_lifelong(None, log) is None
    assert read_lifelong({'length': 9}, log) == Lifelong(9, None, 50, 'category', None)
    given = {'length': 9, 'search': 'hard', 'keep': 2, 'column': 'item', 'sample': 8}
    assert read_lifelong(given, log) == Lifelong(**given)
