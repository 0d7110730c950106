"""Pair ids against dictionaries of tuples: of training pairs alone, one to one, the same in every process."""

import pickle
import shutil

import numpy as np
import pytest

from jaxrec import keys as all_keys
from jaxrec.data.features import cartesian
from jaxrec.data.sources.behaviour_source import RequestSource
from jaxrec.keys import join_ids
from tests.data.worlds import small_log

FEATURES = {'user': ['user', 'age'], 'candidate': ['item', 'category', 'position'], 'history': ['item', 'category']}
RATING = {'kind': 'rating', 'threshold': 3.0}
SAMPLED = {'kind': 'sampled_negatives', 'per_positive': 1, 'positives': RATING}
PAIRS = (('item', 'history/item'), ('category', 'candidate/position'), ('item', 'user/age'))
NAMES = ('itemxitem', 'categoryxposition', 'itemxage')


@pytest.fixture(scope='module')
def log(tmp_path_factory):
    return small_log(tmp_path_factory.mktemp('cartesian') / 'log')


def make(log, part='train', pairs=PAIRS, **changes):
    described = {'pairs': pairs, **changes.pop('cartesian', {})}
    arguments = {
        'features': FEATURES,
        'label': RATING,
        'split': {'kind': 'per_user_time'},
        'batch_size': 32,
        'history_length': 6,
        'seed': 4,
        'shuffle': part == 'train',
        'remainder': 'pad',
    }
    return RequestSource(log.folder, part=part, cartesian=described, **arguments | changes)


def occurrences(source, index):
    """Yields (pair of ids, its id) of one column of ids, over all valid examples; pairs of padding too."""
    (candidate, other), name = source.vocabularies[index].pair.keys, NAMES[index]
    for batch in (source[i] for i in range(len(source))):
        for b in np.flatnonzero(batch['valid'][:, 0]):
            own = int(batch[candidate][b, 0])
            for met, found in zip(np.ravel(batch[other][b]), np.ravel(batch[f'cartesian/{name}'][b]), strict=True):
                yield (own, int(met)), int(found)


@pytest.mark.parametrize('index', [0, 1, 2])
@pytest.mark.parametrize('label', [RATING, SAMPLED])
def test_ids_are_one_to_one_with_the_pairs_of_training(log, label, index):
    source = make(log, label=label, epochs=2)
    ids = {pair: found for pair, found in occurrences(source, index) if 0 not in pair}
    vocabulary = source.vocabularies[index]
    assert vocabulary.name == NAMES[index] == vocabulary.column.vocabulary
    assert sorted(ids.values()) == list(range(2, vocabulary.column.rows))
    for part in ('train', 'validation', 'test'):
        other = make(log, part, label=label, cartesian={'epochs': 2})
        met = list(occurrences(other, index))
        assert all(found == (0 if 0 in pair else ids.get(pair, 1)) for pair, found in met)
        unseen = np.mean([found == 1 for _, found in met])
        assert (unseen == 0) if part == 'train' else (index != 0 or unseen > 0.05)


def test_shapes_and_dtypes_are_the_contract(log):
    source = make(log, 'test')
    last = source[len(source) - 1]
    shapes = {name: (last[f'cartesian/{name}'].dtype.name, last[f'cartesian/{name}'].shape) for name in NAMES}
    assert shapes == {
        'itemxitem': ('int32', (32, 1, 6)),
        'categoryxposition': ('int32', (32, 1)),
        'itemxage': ('int32', (32, 1)),
    }
    absent = last['valid'][:, 0] == 0
    assert absent.any() and not any(last[f'cartesian/{name}'][absent].any() for name in NAMES)


def test_a_floor_leaves_rare_pairs_without_an_id(log):
    met = [pair for pair, _ in occurrences(make(log), 0) if 0 not in pair]
    pairs, counts = np.unique(met, axis=0, return_counts=True)
    frequent = {tuple(pair) for pair in pairs[counts >= 3].tolist()}
    source = make(log, cartesian={'min_count': 3})
    assert 0 < len(frequent) < len(pairs) and source.vocabularies[0].column.rows == 2 + len(frequent)
    for pair, found in occurrences(source, 0):
        assert (found > 1) == (pair in frequent) or 0 in pair


def test_every_epoch_s_negatives_have_ids_and_only_the_run_s_epochs_count(log):
    rows = [make(log, label=SAMPLED, epochs=e).vocabularies[0].column.rows for e in (1, 3)]
    assert rows[0] < rows[1]
    validation = make(log, 'validation', label=SAMPLED, cartesian={'epochs': 3})
    assert validation.vocabularies[0].column.rows == rows[1]


def test_ids_depend_on_nothing_but_the_training_part(log, monkeypatch):
    first = make(log, 'test')
    shutil.rmtree(log.folder / 'cache')
    for module in (cartesian, all_keys):
        monkeypatch.setattr(module, 'CHUNK', 64)  # collected in many small pieces
    again = make(log, 'test', seed=9, batch_size=8)
    for name, one, other in zip(NAMES, first.vocabularies, again.vocabularies, strict=True):
        np.testing.assert_array_equal(one.keys, other.keys)
        np.testing.assert_array_equal(first[0][f'cartesian/{name}'][:8], again[0][f'cartesian/{name}'])


def test_processes_share_each_batch(log):
    whole = make(log)[1]
    parts = [make(log, process_index=p, process_count=4)[1] for p in range(4)]
    for name in NAMES:
        key = f'cartesian/{name}'
        np.testing.assert_array_equal(np.concatenate([part[key] for part in parts]), whole[key])


def test_a_source_pickles_by_its_arguments(log):
    source = make(log)
    pickled = pickle.dumps(source)
    again = pickle.loads(pickled)
    assert len(pickled) < 2000 and repr(again) == repr(source)
    for key, value in source[0].items():
        np.testing.assert_array_equal(again[0][key], value, err_msg=key)


def test_training_without_histories_knows_no_pair(log):
    nothing = {'kind': 'rating', 'threshold': 6.0}
    source = make(log, label=nothing, pairs=PAIRS[:1])
    assert source.vocabularies[0].column.rows == 2 and not source[0]['cartesian/itemxitem'].any()
    batch = {'candidate/item': np.asarray([[3]], np.int32), 'history/item': np.asarray([[4, 0]], np.int32)}
    assert source.vocabularies[0].encode(batch).tolist() == [[[1, 0]]]


def test_candidates_of_one_request_have_ids_apart():
    keys = np.sort(cartesian.hash64(join_ids(np.int32([5, 6]), np.int32([7, 7]))))
    vocabulary = cartesian.PairVocabulary(cartesian.Pair('item', 'history', 'item'), keys)
    batch = {'candidate/item': np.int32([[5, 6, 8]]), 'history/item': np.int32([[7, 5]])}
    ids = vocabulary.encode(batch)
    assert ids.shape == (1, 3, 2) and {int(ids[0, 0, 0]), int(ids[0, 1, 0])} == {2, 3}
    assert ids[0, 2].tolist() == [1, 1] and ids[0, :, 1].tolist() == [1, 1, 1]
