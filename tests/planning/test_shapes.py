"""What a plan takes the place of: sizes of vocabularies, and files that take long to make."""

import pytest

from jaxrec.data.images.scene import Vocabulary
from jaxrec.data.logs.schema import Column
from jaxrec.models.onerec.tokenizing.semantic_ids import SemanticIds
from jaxrec.planning.shapes import STAND_INS, STEPS, open_world
from jaxrec.runs.build import _with_rows

SCHEMA = {
    'item': Column('categorical', 'item', 12, 1),
    'liked': Column('multi', 'item', 12, 3),
    'price': Column('numeric', None, 0, 1),
}


def test_all_columns_of_a_vocabulary_take_its_rows():
    found = _with_rows(SCHEMA, {'item': 10**9})
    assert [found[name].rows for name in SCHEMA] == [10**9, 10**9, 0]
    assert _with_rows(SCHEMA, {}) == SCHEMA
    with pytest.raises(ValueError, match=r"rows of 'thing': the log has the vocabularies \['item'\]"):
        _with_rows(SCHEMA, {'thing': 5})


def test_scenes_have_no_rows_to_plan_for():
    schema = {'vocabulary': Vocabulary(('person',), ('hold',))}
    assert _with_rows(schema, {}) == schema
    with pytest.raises(ValueError, match=r"rows of 'item': the log has the vocabularies \[\]"):
        _with_rows(schema, {'item': 9})


def test_ids_that_stand_in_have_the_shapes_of_those_that_are_made(tmp_path):
    make = STAND_INS['jaxrec.models.onerec.tokenizing.tokens:make_ids']
    make(tmp_path / 'ids.npz', {'clusters': 4, 'levels': 2}, SCHEMA, {})
    ids = SemanticIds.load(tmp_path / 'ids.npz')
    assert ids.codes.shape == (10, 2) and ids.clusters == 4  # rows 0 and 1 are no items
    make(tmp_path / 'crowded.npz', {'clusters': 2, 'levels': 2}, SCHEMA, {})
    assert SemanticIds.load(tmp_path / 'crowded.npz').room == 3  # ten items, four codes
    make(tmp_path / 'more.npz', {'clusters': 8, 'levels': 3, 'room': 5}, SCHEMA, {'item': 102})
    more = SemanticIds.load(tmp_path / 'more.npz')
    assert more.codes.shape == (100, 3) and more.room == 5


def test_a_step_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match=r"--step=fly: give one of \['predict', 'train'\] or package.module:name"):
        open_world(None, step='fly')
    assert set(STEPS) == {'train', 'predict'}
