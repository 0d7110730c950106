"""IDs: ranks in hand-made collision groups, new items that change no old ID, lookups, files."""

import numpy as np
import pytest

from jaxrec.data.logs.array_files import save_arrays
from jaxrec.models.onerec.tokenizing import semantic_ids as ids
from tests.oracles import semantic_ids as oracle

CODES = np.array([[2, 0], [1, 1], [2, 0], [0, 2], [2, 0], [1, 1]], np.int32)


def drawn(items=200, levels=2, clusters=5, seed=0):
    return np.random.default_rng(seed).integers(0, clusters, (items, levels)).astype(np.int32)


def test_hand_made_collisions_are_ranked_in_their_order():
    made = ids.assign_ids(CODES, 3)
    assert made.ranks.tolist() == [0, 0, 1, 0, 2, 1] and made.room == ids.LEAST_ROOM
    assert ids.assign_ids(np.zeros((20, 1), int), 3).room == 40
    assert made.ids.tolist() == [[2, 0, 0], [1, 1, 0], [2, 0, 1], [0, 2, 0], [2, 0, 2], [1, 1, 1]]
    groups = made.groups()
    assert groups.codes.tolist() == [[0, 2], [1, 1], [2, 0]]
    assert groups.offsets.tolist() == [0, 1, 3, 6] and groups.items.tolist() == [3, 1, 5, 0, 2, 4]


@pytest.mark.parametrize(('levels', 'clusters'), [(1, 3), (2, 5), (3, 4), (4, 8192)])
def test_ranks_and_groups_are_the_loop(levels, clusters):
    codes = drawn(levels=levels, clusters=clusters)
    codes[50:60] = codes[40:50]
    made = ids.assign_ids(codes, clusters)
    assert made.ranks.tolist() == oracle.ranks(codes)
    assert len(np.unique(made.ids, axis=0)) == len(codes)
    groups, want = made.groups(), oracle.groups(codes)
    assert [tuple(row) for row in groups.codes] == sorted(want)
    for u, row in enumerate(map(tuple, groups.codes)):
        assert groups.items[groups.offsets[u] : groups.offsets[u + 1]].tolist() == want[row]


def test_new_items_change_no_old_id():
    made = ids.assign_ids(CODES, 3)
    grown = made.add(np.array([[1, 1], [0, 0], [2, 0], [1, 1]]))
    np.testing.assert_array_equal(grown.ids[:6], made.ids)
    assert grown.ids[6:].tolist() == [[1, 1, 2], [0, 0, 0], [2, 0, 3], [1, 1, 3]]
    again = made.add(np.array([[1, 1]])).add(np.array([[0, 0], [2, 0]])).add(np.array([[1, 1]]))
    np.testing.assert_array_equal(again.ids, grown.ids)
    assert grown.codes.dtype == grown.ranks.dtype == np.int32
    assert made.add(np.zeros((0, 2), int)).ids.tolist() == made.ids.tolist()


def test_a_new_item_without_room_goes_to_the_next_best_codes():
    made, asked = ids.assign_ids(CODES, 3, room=3), []

    def instead(i):
        asked.append(i)
        return np.array([0, 2, 1])

    grown = made.add(np.array([[1, 1], [2, 0], [1, 1], [1, 1], [2, 0], [0, 2]]), instead)
    np.testing.assert_array_equal(grown.ids[:6], made.ids)
    # [2, 0] is full from the first, [1, 1] after one more.
    wanted = [[1, 1, 2], [2, 2, 0], [1, 0, 0], [1, 0, 1], [2, 2, 1], [0, 2, 1]]
    assert grown.ids[6:].tolist() == wanted and asked == [1, 2, 3, 4]
    with pytest.raises(ValueError, match=r'4 items share the codes \[2, 0\]'):
        made.add(np.array([[2, 0]]), lambda i: np.array([0]))


def test_every_item_is_found_and_no_other():
    codes = drawn()
    made = ids.assign_ids(codes, 5)
    order = np.random.default_rng(1).permutation(len(codes))
    np.testing.assert_array_equal(made.find(made.ids[order]), order)
    everything = np.stack(np.meshgrid(range(5), range(5), range(made.room), indexing='ij'), -1)
    found = made.find(everything)
    assert found.shape == everything.shape[:-1]
    assert sorted(found[found >= 0]) == list(range(len(codes)))
    assert (found == -1).sum() == 25 * made.room - len(codes) > 0
    assert ids.assign_ids(np.zeros((0, 2), int), 5).find(made.ids[:2]).tolist() == [-1, -1]


def test_a_file_brings_the_same_ids_back(tmp_path):
    made = ids.assign_ids(drawn(), 5, room=40)
    made.save(tmp_path / 'new' / 'ids.npz')
    loaded = ids.SemanticIds.load(tmp_path / 'new' / 'ids.npz')
    np.testing.assert_array_equal(loaded.ids, made.ids)
    assert (loaded.clusters, loaded.room) == (5, 40) and loaded.codes.dtype == np.int32


make = lambda **more: ids.SemanticIds(**({'codes': CODES, 'ranks': CODES[:, 0] * 0, 'clusters': 3, 'room': 6} | more))


@pytest.mark.parametrize(
    ('call', 'message'),
    [
        (lambda: ids.assign_ids(CODES, 2), r'codes 0\.\.2: each level has 2, from 0'),
        (lambda: ids.assign_ids(CODES - 1, 3), r'codes -1\.\.1'),
        (lambda: ids.assign_ids(CODES + np.int64(2**32), 3), r'codes 4294967296\.\.4294967298'),
        (lambda: ids.assign_ids(CODES[0], 3), r'codes \(2,\) of 3 a level .*: give \[V, L\]'),
        (lambda: ids.assign_ids(np.zeros((2, 5), int), 8192), r'at most 2\^62 IDs'),
        (lambda: ids.assign_ids(CODES, 3, room=2), r'3 items share the codes \[2, 0\] .* has 2 codes'),
        (lambda: ids.assign_ids(CODES, 3, room=3).add(CODES[:1]), r'4 items share .*train anew with more'),
        (lambda: ids.assign_ids(CODES, 3).add(CODES[:, :1]), r'codes of shape \(6, 1\): give \[n, 2\]'),
        (lambda: ids.assign_ids(CODES, 3).find(CODES), r'IDs of shape \(6, 2\): give 2 codes and a rank'),
        (lambda: ids.assign_ids(CODES, 3).find(np.array([[0, 0, 16]])), r'ranks 16\.\.16: the rank level'),
        (lambda: ids.assign_ids(CODES, 3).find(np.array([[0, 3, 0]])), r'codes 0\.\.3'),
        (lambda: make(), 'ranks do not number the items of each group from 0: tokenize'),
        (lambda: make(ranks=np.array([0, 0, 1, 0, 3, 1])), 'ranks do not number'),
        (lambda: make(ranks=np.array([0, 0, 1, 0, 6, 1])), r'ranks 0\.\.6 of a rank level of 6 codes'),
        (lambda: make(ranks=np.zeros(5, int)), r'ranks \(5,\): give \[V, L\]'),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ('arrays', 'message'),
    [
        ({'codes': CODES, 'ranks': CODES[:, 0], 'sizes': np.array([3])}, r'npz holds sizes of shape \(1,\)'),
        ({'codes': CODES, 'ranks': CODES[:, 0] * 0, 'sizes': np.array([3, 6])}, 'npz: ranks do not number'),
        ({'codes': CODES, 'sizes': np.array([3, 6])}, "npz holds nothing as 'ranks', .*tokenize the items"),
    ],
)  # fmt: skip
def test_files_of_no_ids_are_refused(tmp_path, arrays, message):
    save_arrays(tmp_path / 'ids.npz', ids.KIND, ids.VERSION, arrays)
    with pytest.raises(ValueError, match=message):
        ids.SemanticIds.load(tmp_path / 'ids.npz')
