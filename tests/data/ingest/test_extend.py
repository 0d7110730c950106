"""The next day's log: old ids stay, new ones follow in hash order, events are merged as in one log."""

import dataclasses

import numpy as np
import pytest

from jaxrec.data.images.log import own_images
from jaxrec.data.images.record_writer import write_folder
from jaxrec.data.ingest import events, ingest, make_mapping
from jaxrec.data.ingest.extend import check_grown
from jaxrec.data.logs.vocabulary import FIRST, Vocabulary, hash_order
from tests.data.images.worlds import VOCABULARY as WORDS
from tests.data.images.worlds import random_scene
from tests.data.ingest.worlds import MAPPING, last_rows, oracle, rows_of, split, write_csv


@pytest.fixture
def days(tmp_path, monkeypatch):
    monkeypatch.setattr(events, 'RANGE_ROWS', 100)
    rows = rows_of(400, 0, users=20, items=25), rows_of(500, 1, users=30, items=40)
    files = [write_csv(tmp_path / f'day{n}.csv', day) for n, day in enumerate(rows)]
    first = ingest(files[:1], make_mapping(MAPPING), tmp_path / 'first')
    return (rows, first, ingest(files[1:], make_mapping(MAPPING), tmp_path / 'both', extend=first.folder), files)


def test_ids_stay_and_new_ones_follow_in_hash_order(days):
    rows, first, both, _ = days
    for name in ('user', 'item', 'place', 'tags', 'brand', 'kinds', 'city'):
        old, new = first.vocabulary(name), both.vocabulary(name)
        assert new.keys[: len(old.keys)].tolist() == old.keys.tolist()
        added = new.keys[len(old.keys) :]
        assert added.tolist() == added[hash_order(added, new.seed)].tolist()
    met = {row['uid'] for day in rows for row in day}
    assert set(both.vocabulary('user').keys.tolist()) == met
    assert both.vocabulary('item').counts.sum() == 900 and len(both) == 900


def test_events_are_those_of_one_log_in_other_ids(days):
    """Decoded and in the order of (user, time, input), the merged events are the rows of both days."""
    rows, _, both, _ = days
    all_rows = [*rows[0], *rows[1]]
    user = both.vocabulary('user')
    ids = user.encode(np.asarray([row['uid'] for row in all_rows]))
    order = sorted(range(900), key=lambda n: (ids[n], all_rows[n]['ts']))
    names = user.decode(both.events['user']).tolist()
    found = list(zip(names, both.events['time'].tolist(), both.events['rating'].tolist(), strict=True))
    assert found == [(all_rows[n]['uid'], all_rows[n]['ts'], all_rows[n]['rating']) for n in order]
    tags, keys = both.events['tags'], both.vocabulary('tags')
    for place, n in enumerate(order[::37]):
        row = tags.take(np.asarray([place * 37])).values
        wanted = split(all_rows[n]['tags'], '|')[:2]
        assert [keys.keys[i - FIRST] if i >= FIRST else None for i in row] == [
            tag if tag in keys.keys else None for tag in wanted
        ]
    assert both.events['generation'].tolist() == [int(n >= 400) for n in order]


def test_attributes_of_both_days_the_last_one_counting(days):
    rows, first, both, _ = days
    brand = both.vocabulary('brand')
    for row in last_rows([*rows[0], *rows[1]], 'sku'):
        item = both.vocabulary('item').encode(np.asarray([row['sku']]))
        if item[0] >= FIRST:
            assert brand.decode(both.items['brand'][item]) == [row['brand']]
            kinds = both.items['kinds'].take(item).values
            assert both.vocabulary('kinds').decode(kinds).tolist() == split(row['kinds'], '+')
    assert first.items['brand'].tolist() == both.items['brand'][: len(first.items)].tolist()


def test_a_compiled_log_may_be_extended_too(days, tmp_path):
    rows, _, both, files = days
    base = oracle(tmp_path / 'oracle', rows[0], files[:1])
    again = ingest(files[1:], make_mapping(MAPPING), tmp_path / 'again', extend=base.folder)
    for name in both.events.names:
        column, other = both.events[name], again.events[name]
        np.testing.assert_array_equal(getattr(column, 'values', column), getattr(other, 'values', other))
    assert again.manifest['counts'] == both.manifest['counts']
    third = ingest(files[:1], make_mapping(MAPPING), tmp_path / 'third', extend=again.folder)
    assert np.bincount(third.events['generation']).tolist() == [400, 500, 400]


def test_growth_is_checked(days, tmp_path):
    _, first, both, files = days
    features = {'user': ('user',), 'candidate': ('item', 'place', 'price', 'hashed')}
    check_grown(first, both, features)
    check_grown(first, first, features)
    with pytest.raises(ValueError, match=r"'item' of .*first does not extend that of .*both.*--extend="):
        check_grown(both, first, features)
    other = ingest(files[1:], make_mapping(MAPPING), tmp_path / 'other')
    with pytest.raises(ValueError, match='they differ at id'):
        check_grown(first, other, features)


def test_scenes_keep_their_names(days, tmp_path):
    _, first, _, _ = days

    def album(name, **changes):
        words = dataclasses.replace(WORDS, **changes)
        write_folder(tmp_path / name, words, [random_scene(0)], ['train'])
        return own_images(tmp_path / f'{name}.log', str(tmp_path / name))

    log = album('first')
    check_grown(log, album('second', symmetric=()), {})  # no number means another thing
    changed = {
        'entities': (*WORDS.entities[:-1], 'other'),
        'relations': (*WORDS.relations, 'other'),
        'parts': WORDS.parts[::-1],
        'person': WORDS.entities[1],
    }
    for kind, names in changed.items():
        with pytest.raises(ValueError, match=rf'{kind}\.log has the {kind} .* has .*: give images with'):
            check_grown(log, album(kind, **{kind: names}), {})
    with pytest.raises(ValueError, match=r'is a behaviour log and .*first\.log a scene log: train anew'):
        check_grown(first, log, {})


def test_an_enumeration_goes_on_from_a_base():
    base = Vocabulary.build(np.asarray(['b', 'a', 'a', 'c']), seed=3)
    distinct = np.asarray([*base.keys.tolist(), 'zz', 'y', 'x'])
    made, ids = Vocabulary.enumerate(distinct, np.asarray([0, 5, 0, 2, 1, 3]), min_count=2, seed=3, base=base)
    assert made.keys[:3].tolist() == base.keys.tolist() and set(made.keys[3:]) == {'zz', 'x'}
    assert ids[:3].tolist() == [2, 3, 4] and ids[4] == 1 and made.dropped == 1
    assert made.counts[1] == 1 and made.counts.sum() == 4 + 11
    np.testing.assert_array_equal(made.encode(distinct), ids)


def test_the_mapping_must_be_that_of_the_log(days, tmp_path):
    _, first, _, files = days
    less = {**MAPPING, 'events': {}}
    with pytest.raises(ValueError, match=r"for column 'hashed', the mapping has nothing: give the mapping"):
        ingest(files[1:], make_mapping(less), tmp_path / 'x', extend=first.folder)
