"""Which examples a batch holds, whatever log they come from: told by a source of bare numbers."""

import dataclasses
import pickle

import numpy as np
import pytest

from jaxrec.data.sources.batch_source import BatchSource

EXAMPLES = 10


@dataclasses.dataclass(eq=False)
class Numbers(BatchSource):
    """Batches of the examples' own numbers."""

    def _open(self):
        return None, EXAMPLES, EXAMPLES

    def _assemble(self, pick, epoch):
        ones = np.ones((len(pick), 1), np.float32)
        return {'number': pick + 100 * epoch, 'valid': ones, 'host/event': pick[:, None].astype(np.int64)}


def source(**changed):
    options = {'features': {}, 'label': {}, 'split': {}, 'part': 'train', 'batch_size': 4}
    return Numbers('nowhere', **options | changed)


def numbers(found):
    return [int(n) for i in range(len(found)) for n in found[i]['number']]


def test_an_epoch_is_a_seeded_order_of_its_own():
    found = source(batch_size=5, epochs=2)
    first, second = numbers(found)[:EXAMPLES], [n - 100 for n in numbers(found)[EXAMPLES:]]
    assert sorted(first) == sorted(second) == list(range(EXAMPLES))
    assert first != second and first != sorted(first)
    assert numbers(found) == numbers(source(batch_size=5, epochs=2))
    assert numbers(found) != numbers(source(batch_size=5, epochs=2, seed=1))


def test_a_remainder_is_dropped_or_padded():
    assert len(source()) == 2 and len(source(remainder='pad')) == 3
    last = source(remainder='pad', shuffle=False)[2]
    assert last['number'].tolist() == [8, 9, 0, 0]
    assert last['valid'][:, 0].tolist() == [1, 1, 0, 0] and last['host/event'][:, 0].tolist() == [8, 9, -1, -1]


def test_processes_cut_one_batch_among_them():
    whole = source()[1]['number']
    parts = [source(process_index=i, process_count=2)[1]['number'] for i in range(2)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_a_pickled_source_gives_the_same_batches():
    found = source(epochs=2)
    assert numbers(pickle.loads(pickle.dumps(found))) == numbers(found)


def test_a_source_that_fills_no_batches_cannot_be_made():
    with pytest.raises(TypeError, match='abstract'):
        BatchSource('nowhere', features={}, label={}, split={}, part='train', batch_size=4)
    with pytest.raises(IndexError, match='batch 2 of 2'):
        source()[2]
